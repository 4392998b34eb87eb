"""`secateur select`: the frontier of a model between time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import (
    Batch,
    Constants,
    Costs,
    Json,
    Shapes,
    Target,
    is_lowered,
    parse_constants,
    parse_shapes,
    read_source,
    refuse,
)
from .groups import spread
from .limits import Limits, MinSqnr

Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a line for each plan there.")]
Page = Annotated[
    Path | None,
    typer.Option(
        "--frontier", metavar="FILE.html", help="Draw the plans there: a page with nothing to fetch."
    ),
]
Tune = Annotated[
    bool,
    typer.Option("--tune", help="Take times measured on this machine (slow at first, then cached)."),
]


@spread("memory", "latency")
def select(
    model: Annotated[Path, typer.Argument(help="An ONNX model, or IR text (.sir).")],
    *,
    target: Target = "host",
    shape: Shapes = None,
    batch: Batch = None,
    constant: Constants = None,
    tune: Tune = False,
    costs: Costs = None,
    csv: Csv = None,
    frontier: Page = None,
    json: Json = False,
    limits: Limits,
    min_sqnr: MinSqnr = None,
) -> None:
    """Show the plans that no other beats in both time and memory.

    Each stands with the pipeline that compiles it. Times are estimates for one core, memory is the arena's
    peak.
    """
    from secateur.passes.registry import DEFAULT_PIPELINE

    from ..pages.frontier import frontier as frontier_of
    from ..pages.frontier_page import render_page
    from ..pages.frontier_report import json_data, table_text, write_csv
    from ..report import print_json, progress

    graph = read_source(model, parse_shapes(shape), batch, parse_constants(constant))
    if is_lowered(graph):
        raise refuse(
            "this IR has its primitives already; choosing them wants the model, or IR before `select`"
        )
    with progress() as show:
        pipeline = limits.pipeline(None, DEFAULT_PIPELINE, min_sqnr)
        found = frontier_of(graph, target, tune, show, costs, pipeline)
    if csv is not None:
        write_csv(found, csv)
    if frontier is not None:
        frontier.write_text(render_page(found), encoding="utf-8")
    if json:
        print_json(json_data(found))
        return
    print(table_text(found))
    for name, path in (("CSV", csv), ("page", frontier)):
        if path is not None:
            print(f"{name}: {path}")
