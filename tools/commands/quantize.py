"""`secateur quantize`: a float model becomes one with 8-bit ranges in it, as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import quantization as q
from .common import Json, Shapes, Target, parse_shapes, read_source, refuse

SUFFIX = ".int8.onnx"


def quantize_model(
    model: Annotated[Path, typer.Argument(help="A float ONNX model, or IR text (.sir).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=f"Default: the model's name with {SUFFIX}.")
    ] = None,
    target: Target = "host",
    shape: Shapes = None,
    calibration: q.CalibrationSource = None,
    images: q.Images = None,
    mean: q.Mean = None,
    std: q.Std = None,
    size: q.Size = None,
    method: q.MethodOption = None,
    min_sqnr: q.MinSqnr = None,
    max_drop: q.MaxDrop = None,
    keep_float: q.KeepFloat = None,
    equalize: q.Equalize = False,
    ranges: q.RangesFile = None,
    save_ranges: q.SaveRanges = None,
    report: q.Reports = None,
    json: Json = False,
) -> None:
    """Quantize a model to int8 and write it as ONNX (QDQ). Times in reports are estimates for --target."""
    from ..report import print_json, progress
    from .quantized import Quantizing, check_float, quantize_to

    asked = q.Quantization(
        calibration, images, mean, std, size, method, min_sqnr, None, max_drop, None, keep_float,
        equalize, ranges, save_ranges, report,
    )  # fmt: skip
    asked.check()
    graph = read_source(model, parse_shapes(shape))
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
