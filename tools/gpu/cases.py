"""What gpu-check checks and times, as rows of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from secateur.options import Fp16, Int8
from secateur.tools.bench import models
from secateur.tools.bench.model_builder import GraphBuilder

from .fan import fan, rows

EXAMPLES = Path(__file__).parents[2] / "examples"
LAYERS = 4  # in a chain: enough for what lies at its ends to matter little
BATCHES = (1, 4, 8)
STAGES = ((64, 56), (128, 28), (256, 14), (512, 7), (64, 224), (128, 112), (256, 56), (512, 28), (512, 14))
"""Channels and extent of the 3x3 layers of ResNet and VGG-16 that give as many channels as they take."""
NETWORKS = ("resnet18", "resnet50", "vgg16")
ANSWERS = (("fashion", "int8 F(4,3)"), ("mobilenet-v2", "int8"), ("digits", "fp16"), ("digits", "fp32"))
"""Whole networks whose answers are checked, those of the benchmark with small images."""
_ALL: dict[str, Any] = {"layers": "all", "bias_correction": False, "layer_sqnr": -100.0}
"""No kernel depends on the correction, which is measured; a tile is taken whatever it costs."""
_NOISE = "random:1"
PRECISIONS: dict[str, dict[str, Int8 | Fp16]] = {
    "int8": {"quantize": Int8(_NOISE, **_ALL)},
    "int8 direct": {"quantize": Int8(_NOISE, **_ALL, winograd="off")},
    "int8 F(2,3)": {"quantize": Int8(_NOISE, **_ALL, winograd="2")},
    "int8 F(4x2,3x3)": {"quantize": Int8(_NOISE, **_ALL, winograd="4x2")},
    "int8 F(4,3)": {"quantize": Int8(_NOISE, **_ALL, winograd="4")},
    "fp16": {"precision": Fp16()},
    "fp32": {},
}
IN_CHAINS = ("int8 direct", "int8 F(4,3)", "fp16", "fp32")
"""What the model chooses of a chain is one of these."""
IN_NETWORKS = ("int8", "fp16", "fp32")
ARCHITECTURES = {
    "cuda-sm_61": ("int8 direct", "int8 F(4,3)"),
    "cuda-sm_75": ("int8 direct", "int8 F(4,3)"),
    "cuda-sm_90": ("int8 direct", "int8 F(4,3)", "int8 F(2,3)", "int8 F(4x2,3x3)", "fp16", "fp32"),
}
"""Whose primitives are checked, all of which a GPU of the last one runs: by `dp4a`, `wmma` and `mma`."""
_FILTERS, _CHANNELS = 8, 16  # after which filters repeat


@dataclass(frozen=True)
class Case:
    """A network in one precision, and the part of the check that it belongs to. A `group` is timed in turn.

    Where there is a `target`, it is for that one, and its operators take all their primitives in turn.
    """

    part: str
    name: str
    model: Callable[[], onnx.ModelProto]
    precision: str
    group: str = ""
    target: str = ""


def cases(quick: bool) -> Iterator[Case]:
    """What is worth most comes first."""
    yield from _some() if quick else _all()


def _some() -> Iterator[Case]:
    few = partial(fan, copies=1)
    yield Case("primitives", "primitives, cuda-sm_75, int8 F(4,3)", few, "int8 F(4,3)", target="cuda-sm_75")
    for precision in ("int8 F(4,3)", "fp32"):
        yield Case("answers", f"chain {precision}", partial(chain, 1, 16, 4, 1), precision)
    yield from _stage(2, 16, 4, ("int8 direct", "fp32"))


def _all() -> Iterator[Case]:
    for target, precisions in reversed(ARCHITECTURES.items()):
        for precision in precisions:
            yield Case("primitives", f"primitives, {target}, {precision}", fan, precision, target=target)
    for precision in ("fp16", "fp32"):
        yield Case("primitives", f"rows, cuda-sm_90, {precision}", rows, precision, target="cuda-sm_90")
    for batch in BATCHES:
        for channels, extent in STAGES:
            yield from _stage(batch, channels, extent, IN_CHAINS)
        if batch == 1:
            yield from _answers()
        for name in NETWORKS:
            yield from _network(name, batch)


def _answers() -> Iterator[Case]:
    """Whole networks whose answers are known."""
    for name, precision in ANSWERS:
        path = EXAMPLES / name / "resnet20.onnx"
        made = partial(onnx.load, path) if path.exists() else partial(models.build, name, side=64)
        yield Case("answers", f"{name} {precision}", made, precision)


def _network(name: str, batch: int) -> Iterator[Case]:
    group = f"{name}, batch {batch}"
    for precision in IN_NETWORKS:
        yield Case("networks", f"{group}, {precision}", partial(network, name, batch), precision, group)


def _stage(batch: int, channels: int, extent: int, precisions: tuple[str, ...]) -> Iterator[Case]:
    group = f"{LAYERS} of {channels}x{extent}x{extent}, batch {batch}"
    for precision in precisions:
        made = partial(chain, batch, channels, extent, LAYERS)
        yield Case("layers", f"{group}, {precision}", made, precision, group)


def chain(batch: int, channels: int, extent: int, layers: int) -> onnx.ModelProto:
    """So many 3x3 convolutions with ReLU, one after another."""
    builder = GraphBuilder(f"chain{channels}", (batch, channels, extent, extent), 0)
    x = builder.input
    for i in range(layers):
        x = builder.relu(builder.conv(x, f"conv{i}", channels, 3, pad=1, bias=True), f"relu{i}")
    return repeating(builder.finish(x))


def network(name: str, batch: int) -> onnx.ModelProto:
    """One of the benchmark's, for `batch` images."""
    model = models.build(name)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = batch
    return repeating(model)


def repeating(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with filters that repeat, so that an archive of it is small; its time is the same."""
    for weight in model.graph.initializer:
        if len(weight.dims) < 2:
            continue
        array = numpy_helper.to_array(weight)
        few = array[:_FILTERS, :_CHANNELS]
        counts = [-(-whole // part) for whole, part in zip(array.shape, few.shape, strict=True)]
        tiled = np.tile(few, counts)[tuple(slice(extent) for extent in array.shape)]
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(tiled), weight.name))
    return model
