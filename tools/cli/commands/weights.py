"""`secateur weights`: what a model's weights take, by codec, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secateur.ir.support.atomic import write_whole

from ...pages.tflite_weights import weights_in
from ...pages.weights import csv_text, json_data, report, table_text, weights_of
from ...pages.weights_page import render_page
from ...progress import progress
from ...report import print_json
from ..checks import check_outputs
from ..common import Json, refuse
from ..groups import spread
from ..source import Settled, source_kind

Bits = Annotated[
    int,
    typer.Option(min=2, max=8, help="Of the integers that float weights are rounded to, a scale a channel."),
]
Pruned = Annotated[
    float,
    typer.Option(
        "--pruned", min=0, max=1, help="The share of each tensor's weights, the smallest, that are zero."
    ),
]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a line a layer there.")]
Page = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE.html", help="Draw the most frequent filters there, with the table."),
]


@spread()
def weights(
    model: Annotated[Path, typer.Argument(help="An ONNX model, IR text (.sir), or a TFLite file.")],
    *,
    settled: Settled,
    bits: Bits = 8,
    pruned: Pruned = 0.0,
    csv: Csv = None,
    html: Page = None,
    json: Json = False,
) -> None:
    """Show what a model's weights take by codec, layer by layer.

    Weights of an int8 model are taken as they are, those of a float model rounded, and those of a TFLite file
    where fewer bits than 8 are asked for. Tables and heads are counted. The program zstd, where it is
    installed, and xz compress the same bytes for comparison.
    """
    tflite = settled == Settled() and source_kind(model) == "tflite"
    if not tflite:
        settled.check(model)
    check_outputs(csv, html)
    with progress() as show:
        show("reading", 0, 1)
        layers = weights_in(model, bits, pruned) if tflite else weights_of(settled.read(model), bits, pruned)
        if not layers:
            raise refuse(f"{model}: has no weights: no constant that a convolution or product multiplies by")
        found = report(model.name, layers, bits, pruned, show)
    if csv is not None:
        write_whole(csv, csv_text(found).encode())
    if html is not None:
        write_whole(html, render_page(found).encode())
    if json:
        print_json(json_data(found))
        return
    print(table_text(found))
    for name, path in (("CSV", csv), ("page", html)):
        if path is not None:
            print(f"{name}: {path}")
