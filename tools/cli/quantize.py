"""`secateur quantize`: a float model becomes one with 8-bit ranges in it, as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import (
    Batch,
    Constants,
    Json,
    Shapes,
    Target,
    parse_constants,
    parse_shapes,
    read_source,
    refuse,
)
from .groups import spread
from .quantization import Quantization

SUFFIX = ".int8.onnx"


@spread("layer_sqnr", "winograd", "profile", "layers")
def quantize_model(
    model: Annotated[Path, typer.Argument(help="A float ONNX model, or IR text (.sir).")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=f"Default: the model's name with {SUFFIX}.")
    ] = None,
    target: Target = "host",
    shape: Shapes = None,
    batch: Batch = None,
    constant: Constants = None,
    asked: Quantization,
    json: Json = False,
) -> None:
    """Quantize a model to int8 and write it as ONNX (QDQ). Times in reports are estimates for --target."""
    from ..report import print_json, progress
    from .quantized import Quantizing, check_float, quantize_to

    asked.check()
    graph = read_source(model, parse_shapes(shape), batch, parse_constants(constant))
    check_float(graph)
    path = output or default_output(model)
    work = Quantizing(asked, graph, target)
    if not json:
        print(work.gain.text, flush=True)
    with progress() as show:
        layers = quantize_to(path, work, show)
    if json:
        print_json({"model": str(path), "bytes": path.stat().st_size, **work.summary(layers)})
    else:
        print(f"{path}: {_size(path)}\n{work.text(layers)}")


def default_output(model: Path) -> Path:
    """The model's name in the current folder, with `.int8.onnx`."""
    path = Path(model.stem + SUFFIX)
    if path.resolve() == model.resolve():
        raise refuse(f"{path}: is the model itself; name the quantized one with -o")
    return path


def _size(path: Path) -> str:
    from ..report import size

    return size(path.stat().st_size)
