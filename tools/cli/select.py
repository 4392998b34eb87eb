"""`secateur select`: the frontier of a model between time and memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from secateur.ir.support.atomic import write_whole

from ..pages.frontier import frontier as frontier_of
from ..pages.frontier_page import render_page
from ..pages.frontier_report import json_data, table_text, write_csv
from ..progress import progress
from ..report import print_json
from .checks import check_outputs, check_readable, check_target
from .common import Costs, Json, Target, default_pipeline, is_lowered, refuse
from .groups import spread
from .limits import Limits, MinSqnr
from .source import Settled

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
    settled: Settled,
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
    settled.check(model)
    check_target(target)
    check_readable(costs)
    check_outputs(csv, frontier)
    limits.check()
    with progress() as show:
        show("reading", 0, 1)
        graph = settled.read(model)
        if is_lowered(graph):
            raise refuse(
                "this IR has its primitives already; choosing them wants the model, or IR before `select`"
            )
        pipeline = limits.pipeline(None, default_pipeline(graph), min_sqnr)
        found = replace(frontier_of(graph, target, tune, show, costs, pipeline), model=model.name)
    if csv is not None:
        write_csv(found, csv)
    if frontier is not None:
        write_whole(frontier, render_page(found).encode())
    if json:
        print_json(json_data(found))
        return
    print(table_text(found))
    for name, path in (("CSV", csv), ("page", frontier)):
        if path is not None:
            print(f"{name}: {path}")
