"""`secateur select`: the frontier of a model between time and memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from secateur.ir.support.atomic import write_whole
from secateur.options import Limits

from ...pages.frontier import frontier as frontier_of
from ...pages.frontier_page import render_page
from ...pages.frontier_report import json_data, table_text, write_csv
from ...progress import progress
from ...report import print_json
from ..checks import check_outputs, check_readable, check_target
from ..common import Costs, Json, Target, Tune
from ..groups import Given, spread
from ..source import Settled, check_unchosen

Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a line for each plan there.")]
Page = Annotated[
    Path | None,
    typer.Option(
        "--frontier", metavar="FILE.html", help="Draw the plans there: a page with nothing to fetch."
    ),
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
    limits: Given[Limits],
) -> None:
    """Show the plans that no other beats in both time and memory.

    Each stands with the pipeline that compiles it. Times are estimates for one core, memory is the arena's
    peak.
    """
    settled.check(model)
    check_target(target)
    check_readable(costs)
    check_outputs(csv, frontier)
    kept = limits.value()
    with progress() as show:
        show("reading", 0, 1)
        graph = settled.read(model)
        check_unchosen(graph, "choosing them")
        found = replace(frontier_of(graph, target, tune, show, costs, kept), model=model.name)
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
