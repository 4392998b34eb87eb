"""Random pieces of graphs on bytes: values, weights, windows, scales and extremes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Graph, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

Array = NDArray[Any]


@dataclass(frozen=True)
class Draw:
    """Random pieces of a graph."""

    graph: Graph
    rng: np.random.Generator

    def whole(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def scale(self, low: float = -2.5, high: float = -0.5) -> float:
        return float(np.float32(10 ** self.rng.uniform(low, high)))

    def zero(self) -> int:
        """A zero point; the ends often."""
        return int(self.rng.choice([0, 255, 128, self.whole(0, 255)]))

    def bytes(self, name: str, *shape: int, quant: Quant | None = None) -> Value:
        """An input."""
        quant = quant or Quant((self.scale(),), (self.zero(),))
        return self.graph.add_input(TensorType(shape, DType.U8, quant=quant), name)

    def constant(self, name: str, array: Array, quant: Quant | None = None) -> Value:
        made = self.graph.append(create("nn.constant", [], {"value": array})).result
        made.type, made.name = replace(made.type, quant=quant), name
        return made

    def weights(self, channels: int, shape: tuple[int, ...], axis: int | None) -> Value:
        """i8 with one scale for each index of an axis, or one for all."""
        scales = tuple(self.scale() for _ in range(1 if axis is None else channels))
        stored = self.rng.integers(-127, 128, shape).astype(np.int8)
        return self.constant("w", stored, Quant(scales, (0,) * len(scales), axis))

    def bias(self, channels: int) -> Value:
        return self.constant("b", self.rng.integers(-(2**14), 2**14, channels).astype(np.int32))

    def result(self, *scales: float) -> dict[str, Any]:
        """Attributes of a result whose scale is about the product of `scales`; ReLU half the time."""
        zero = self.zero()
        limits = (0, 255) if self.rng.random() < 0.5 else (zero, 255)
        scale = float(np.float32(np.prod(scales) * 10 ** self.rng.uniform(-0.5, 2.5)))
        return {"scales": (scale,), "zero_points": (zero,), "limits": limits, "rounding": "tflite"}

    def window(self, kernel: tuple[int, ...], dilated: bool = True) -> dict[str, Any]:
        n = len(kernel)
        dilation = self.whole(1, 2) if dilated else 1
        return {
            "strides": tuple(self.whole(1, 3) for _ in kernel),
            "pads": tuple(self.whole(0, min(kernel) - 1) for _ in range(2 * n)),
            "dilations": (dilation,) * n,
        }

    def returned(self, op: str, operands: list[Value], **attributes: Any) -> Graph:
        made = self.graph.append(create(op, operands, attributes))
        self.graph.set_outputs([made.result], ["y"])
        return self.graph


def scale_of(value: Value) -> float:
    assert value.type.quant is not None
    return value.type.quant.scales[0]
