"""What gpu-check checks and times, as rows of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from secateur.options import Fp16, Int8
from secateur.tools.bench import models
from secateur.tools.bench.model_builder import GraphBuilder

EXAMPLES = Path(__file__).parents[2] / "examples"
LAYERS = 4  # in a chain: enough for what lies at its ends to matter little
BATCHES = (1, 4, 8)
STAGES = ((64, 56), (128, 28), (256, 14), (512, 7), (64, 224), (128, 112), (256, 56), (512, 28), (512, 14))
"""Channels and extent of the 3x3 layers of ResNet and VGG-16 that give as many channels as they take."""
NETWORKS = ("resnet18", "resnet50", "vgg16")
SMALL = ("mobilenet-v2", "squeezenet1.1")
"""Whose answers are checked, of small images."""
NOISE = "random:1"
_ALL: dict[str, Any] = {"layers": "all", "bias_correction": False}  # which changes no kernel, and is measured
PRECISIONS: dict[str, dict[str, Int8 | Fp16]] = {
    "int8": {"quantize": Int8(NOISE, **_ALL)},
    "int8 direct": {"quantize": Int8(NOISE, **_ALL, winograd="off")},
    "int8 F(4,3)": {"quantize": Int8(NOISE, **_ALL, winograd="4")},
    "fp16": {"precision": Fp16()},
    "fp32": {},
}
IN_CHAINS = tuple(name for name in PRECISIONS if name != "int8")
"""What the model chooses of a chain is one of these."""
_FILTERS, _CHANNELS = 8, 16  # after which filters repeat


@dataclass(frozen=True)
class Case:
    """A network in one precision for one target. Those of a `group` are timed in turn."""

    name: str
    model: Callable[[], onnx.ModelProto]
    precision: str
    group: str = ""


def checks(quick: bool) -> Iterator[Case]:
    """Whole networks whose answers are known: between them they have the primitives that matter."""
    if quick:
        for precision in ("int8 F(4,3)", "fp32"):
            yield Case(f"chain {precision}", lambda: chain(1, 16, 4, 1), precision)
        return
    for name in ("digits", "fashion"):
        path = EXAMPLES / name / "resnet20.onnx"
        for precision in PRECISIONS:
            yield Case(f"{name} {precision}", lambda p=path: onnx.load(p), precision)  # type: ignore[misc]
    for name in SMALL:
        for precision in ("int8", "fp32"):
            yield Case(f"{name} {precision}", lambda n=name: models.build(n, side=64), precision)  # type: ignore[misc]


def timed(quick: bool) -> Iterator[Case]:
    """Chains of one layer and whole networks, in every precision: the small batches first."""
    stages, batches = (((16, 4),), (2,)) if quick else (STAGES, BATCHES)
    for batch in batches:
        for channels, extent in stages:
            yield from _stage(batch, channels, extent, ("int8", "fp32") if quick else IN_CHAINS)
        for name in () if quick else NETWORKS:
            yield from _network(name, batch)


def _network(name: str, batch: int) -> Iterator[Case]:
    group = f"{name}, batch {batch}"
    for precision in ("int8", "fp16", "fp32"):
        yield Case(f"{group}, {precision}", lambda: network(name, batch), precision, group)


def _stage(batch: int, channels: int, extent: int, precisions: tuple[str, ...]) -> Iterator[Case]:
    group = f"{LAYERS} of {channels}x{extent}x{extent}, batch {batch}"
    for precision in precisions:
        yield Case(
            f"{group}, {precision}",
            lambda: chain(batch, channels, extent, LAYERS),
            precision,
            group,
        )


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


def asked(precision: str, batch: int) -> dict[str, Int8 | Fp16]:
    """What `secateur.compile` is asked for; a batch is calibrated on as many images."""
    options = dict(PRECISIONS[precision])
    if isinstance(int8 := options.get("quantize"), Int8):
        options["quantize"] = replace(int8, calibration=f"random:{batch}")
    return options


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
