"""Operators that stretch each primitive: the widest windows, the longest rows, the most channels.

Whatever its sizes, a kernel is a bounded piece of code that compiles in a moment.
`MOST_BYTES` is that bound, which the tests hold and `bench_compile` shows with the times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

MOST_BYTES = 64 << 10  # of a kernel's object file

Pair = tuple[int, int]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A convolution's; `pads` keep the extent where none are given."""

    shape: Shape
    filters: int
    kernel: Pair
    strides: Pair = (1, 1)
    groups: int = 1
    dilations: Pair = (1, 1)
    pads: Shape | None = None

    def attributes(self) -> dict[str, Any]:
        around = tuple((k - 1) * d // 2 for k, d in zip(self.kernel, self.dilations, strict=True))
        pads = around * 2 if self.pads is None else self.pads
        return {"strides": self.strides, "pads": pads, "dilations": self.dilations, "groups": self.groups}


def convolution(window: Window) -> Operator:
    """`nn.conv` of float32."""
    weights = np.zeros((window.filters, window.shape[1] // window.groups, *window.kernel), np.float32)
    return create("nn.conv", [_value(window.shape), _constant(weights)], window.attributes())


def transposed(window: Window) -> Operator:
    """`nn.conv_transpose` of float32."""
    weights = np.zeros((window.shape[1], window.filters // window.groups, *window.kernel), np.float32)
    attributes = window.attributes() | {"output_padding": (0, 0)}
    return create("nn.conv_transpose", [_value(window.shape), _constant(weights)], attributes)


def linear(window: Window) -> Operator:
    """`q.linear_conv` whose zero point is not 0, so that borders count."""
    count = window.filters
    weights = np.zeros((count, window.shape[1] // window.groups, *window.kernel), np.int8)
    operands = [
        _value(window.shape, DType.U8, Quant((0.02,), (3,))),
        _constant(weights, Quant((0.01,) * count, (0,) * count, 0)),
        _constant(np.zeros(count, np.int32)),
    ]
    ending = {"scales": (0.3,), "zero_points": (0,), "limits": (0, 255)}
    return create("q.linear_conv", operands, window.attributes() | ending)


def pool(kind: str, shape: Shape, kernel: Pair, dtype: DType = DType.F32) -> Operator:
    """`nn.max_pool` or `nn.average_pool` with padding all around."""
    attributes: dict[str, Any] = {
        "kernel": kernel, "strides": (1, 1), "pads": tuple(k // 2 for k in kernel) * 2, "dilations": (1, 1),
    }  # fmt: skip
    if kind == "average":
        attributes["count_include_pad"] = False
    return create(f"nn.{kind}_pool", [_value(shape, dtype)], attributes)


def _value(shape: Shape, dtype: DType = DType.F32, quant: Quant | None = None) -> Value:
    return Value(TensorType(shape, dtype, quant=quant), "x")


def _constant(array: Any, quant: Quant | None = None) -> Value:
    value = create("nn.constant", [], {"value": array}).result
    value.type = replace(value.type, quant=quant)
    return value


WINDOWS: Mapping[str, Window] = {
    "1x256, stride 2, one filter": Window((1, 1, 1, 16000), 1, (1, 256), (1, 2)),
    "1x512, many channels": Window((1, 64, 1, 2000), 64, (1, 512)),
    "1x1024, one channel": Window((1, 1, 1, 16000), 64, (1, 1024)),
    "31x31": Window((1, 32, 56, 56), 64, (31, 31)),
    "31x31, dilated": Window((1, 3, 160, 160), 32, (31, 31), dilations=(2, 2)),
    "11x11": Window((1, 32, 56, 56), 64, (11, 11)),
    "7x7, dilated by 16": Window((1, 32, 129, 129), 64, (7, 7), dilations=(16, 16)),
    "1024x1": Window((1, 32, 3000, 1), 64, (1024, 1)),
    "3x3, 4096 channels": Window((1, 4096, 7, 7), 64, (3, 3)),
    "3x3, 4096 filters": Window((1, 64, 7, 7), 4096, (3, 3)),
    "grouped 1x512": Window((1, 64, 1, 2000), 64, (1, 512), groups=4),
    "depthwise 1x512": Window((1, 64, 1, 4000), 64, (1, 512), groups=64),
    "depthwise 31x31": Window((1, 64, 56, 56), 64, (31, 31), groups=64),
    "depthwise 512x1": Window((1, 64, 4000, 1), 64, (512, 1), groups=64),
}
TRANSPOSED: Mapping[str, Window] = {
    "transposed 1x512": Window((1, 32, 1, 1000), 32, (1, 512)),
    "transposed 1x1024, stride 512": Window((1, 32, 1, 100), 32, (1, 1024), (1, 512), pads=(0, 256, 0, 256)),
    "transposed 64x64, stride 32": Window((1, 21, 16, 16), 21, (64, 64), (32, 32), pads=(16, 16, 16, 16)),
    "transposed 11x11, stride 4": Window((1, 32, 16, 16), 32, (11, 11), (4, 4), pads=(3, 3, 3, 3)),
}
EXTREMES: Mapping[str, Callable[[], Operator]] = {
    **{f"conv {name}": partial(convolution, window) for name, window in WINDOWS.items()},
    **{name: partial(transposed, window) for name, window in TRANSPOSED.items()},
    **{f"linear_conv {name}": partial(linear, window) for name, window in WINDOWS.items()},
    "max_pool 64x64": lambda: pool("max", (1, 64, 256, 256), (64, 64)),
    "max_pool 64x64 of bytes": lambda: pool("max", (1, 64, 256, 256), (64, 64), DType.U8),
    "average_pool 64x64": lambda: pool("average", (1, 64, 256, 256), (64, 64)),
    "average_pool 1x1024": lambda: pool("average", (1, 64, 1, 4000), (1, 1024)),
}


def kernels(name: str, target: Target) -> Iterator[tuple[str, Kernel]]:
    """(primitive with its layouts, kernel) of every way to compute the extreme of that name."""
    for primitive in PRIMITIVES.candidates(EXTREMES[name]()):
        if primitive.applicable(EXTREMES[name](), target) is not None:
            continue
        for operands, result in primitive.layouts(EXTREMES[name](), target):
            op = EXTREMES[name]()
            for value, layout in zip(op.operands, operands, strict=True):
                if value.producer is None:
                    value.type = value.type.with_layout(layout)
            op.result.type = op.result.type.with_layout(result)
            yield f"{primitive.name} {operands[0].name} -> {result.name}", primitive.kernel(op, target)
