"""`secateur staircase`: a layer's time against its count of channels, and why it has steps."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from secateur.ir.support.atomic import write_whole

from ...pages.staircase import csv_text, json_data, staircases, steps_text, table_text
from ...pages.staircase_page import render_page
from ...progress import progress
from ...report import print_json
from ..checks import check_outputs, check_readable, check_target
from ..common import Costs, Json, Target
from ..groups import spread
from ..source import Settled, check_unchosen


class Axis(Enum):
    """Which count changes."""

    FILTERS = "filters"
    CHANNELS = "channels"
    BOTH = "both"


Layer = Annotated[
    list[str] | None,
    typer.Option("--layer", metavar="NAME", help="Only this ONNX node's layer, with its steps. Repeatable."),
]
Over = Annotated[
    Axis,
    typer.Option("--axis", help="Count what a layer makes (filters), reads (channels), or both."),
]
Csv = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="Write a line a count and primitive there."),
]
Page = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE.html", help="Draw the layers there: a page with nothing to fetch."),
]


@spread()
def staircase(
    model: Annotated[Path, typer.Argument(help="An ONNX model, or IR text (.sir).")],
    *,
    target: Target = "host",
    settled: Settled,
    layer: Layer = None,
    axis: Over = Axis.FILTERS,
    costs: Costs = None,
    csv: Csv = None,
    html: Page = None,
    json: Json = False,
) -> None:
    """Show how a layer's time depends on its channels.

    Times are estimates for one core, or those of a table. A count is worth keeping where no larger one takes
    about as little time; a cliff is a count that takes longer than a larger one.
    """
    settled.check(model)
    check_target(target)
    check_readable(costs)
    check_outputs(csv, html)
    axes = [a.value for a in (Axis.FILTERS, Axis.CHANNELS) if axis in (a, Axis.BOTH)]
    with progress() as show:
        show("reading", 0, 1)
        graph = settled.read(model)
        check_unchosen(graph, "counting channels")
        found = replace(staircases(graph, target, costs, layer or (), axes, show), model=model.name)
    if csv is not None:
        write_whole(csv, csv_text(found).encode())
    if html is not None:
        write_whole(html, render_page(found).encode())
    if json:
        print_json(json_data(found))
        return
    print(table_text(found))
    if layer:
        print("\n".join(["", *(steps_text(stairs) for stairs in found.layers)]))
    for name, path in (("CSV", csv), ("page", html)):
        if path is not None:
            print(f"{name}: {path}")
