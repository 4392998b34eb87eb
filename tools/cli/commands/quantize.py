"""`secateur quantize`: a float model becomes one with 8-bit ranges in it, as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secateur.options import Int8, Limits

from ...progress import progress
from ...report import print_json, size
from ..checks import check_outputs, check_target
from ..common import Json, Target, refuse
from ..groups import Given, spread
from ..quantization import Extras, Quantization
from ..quantized import Quantizing, check_float, quantize_to
from ..source import Settled

SUFFIX = ".int8.onnx"


@spread("memory", "latency", "without", "strict", "layer_sqnr", "winograd", "profile", "layers")
def quantize_model(
    model: Annotated[Path, typer.Argument(help="A float ONNX model, or IR text (.sir).")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=f"Default: the model's name with {SUFFIX}.")
    ] = None,
    target: Target = "host",
    settled: Settled,
    limits: Given[Limits],
    quantization: Given[Int8],
    extras: Extras,
    json: Json = False,
) -> None:
    """Quantize a model to int8 and write it as ONNX (QDQ). Times in reports are estimates for --target."""
    settled.check(model)
    path = output or default_output(model)
    check_target(target)
    check_outputs(path)
    asked, kept = Quantization(quantization, extras), limits.value()
    asked.check()
    with progress() as show:
        show("reading", 0, 1)
        graph = settled.read(model)
        check_float(graph, "quantized")
        work = Quantizing(asked, model, graph, target, kept)
        if not json:
            print(work.gain.text, flush=True)
        layers = quantize_to(path, work, show)
    if json:
        print_json({"model": str(path), "bytes": path.stat().st_size, **work.summary(layers)})
    else:
        print(f"{path}: {size(path.stat().st_size)}\n{work.text(layers)}")


def default_output(model: Path) -> Path:
    """The model's name in the current folder, with `.int8.onnx`."""
    path = Path(model.stem + SUFFIX)
    if path.resolve() == model.resolve():
        raise refuse(f"{path}: is the model itself; name the quantized one with -o")
    return path
