"""A single operator in a graph that fixes none of its axes, so that the operator alone decides what may go.

Every operand is a constant times a scalar input (of which the axes are all made on the spot),
and the result is weighted, element by element, and summed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.ir.channels import Channels, find_channels
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.ops.quantize import quant_attributes
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType
from secateur.tools.checks.pruned import check

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Operand:
    """An operand of noise; `constant`: a constant, with these elements where an array is given."""

    shape: tuple[int, ...]
    dtype: DType = DType.F32
    quant: Quant | None = None
    constant: bool = False
    elements: tuple[int, ...] | None = None
    positive: bool = False
    scale: float = 1.0


def real(*shape: int) -> Operand:
    return Operand(shape)


def positive(*shape: int) -> Operand:
    """Positive reals."""
    return Operand(shape, positive=True)


def byte(*shape: int) -> Operand:
    """Quantized u8."""
    return Operand(shape, DType.U8, Quant((0.05,), (117,)))


def weights(axis: int, *shape: int) -> Operand:
    """Quantized i8 constants with a scale for each index of an axis."""
    count = shape[axis]
    scales = tuple(0.01 * (1 + i % 3) for i in range(count))
    return Operand(shape, DType.I8, Quant(scales, (0,) * count, axis), True)


def constant(dtype: DType, *shape: int) -> Operand:
    return Operand(shape, dtype, None, True)


@dataclass(frozen=True)
class Example:
    """An operator on operands; `free`: its axes that may lose channels, such as `0.1 1.1 | 1.0 =.1`,
    in which `=` is the result, and axes between bars lose them together.
    """

    name: str
    operands: Sequence[Operand]
    free: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Closed:
    """The graph of an example."""

    def __init__(self, example: Example, seed: int = 0) -> None:
        self.graph = Graph()
        self.noise = np.random.default_rng(seed)
        operands = [self.operand(o) for o in example.operands]
        self.operator = self.graph.append(create(example.name, operands, example.attributes, "it"))
        self.finish(self.operator.result)

    def add(self, name: str, operands: Sequence[Value], **attributes: Any) -> Value:
        return self.graph.append(create(name, operands, attributes)).result

    def constant(self, array: Array) -> Value:
        return self.add("nn.constant", [], value=np.ascontiguousarray(array))

    def operand(self, operand: Operand) -> Value:
        if operand.constant:
            return self.annotated(self.constant(self.elements(operand)), operand.quant)
        if operand.quant is not None:
            value = self.scaled(self.noise.standard_normal(operand.shape).astype(np.float32))
            return self.add("q.quantize", [value], dtype=operand.dtype, **quant_attributes(operand.quant))
        return self.scaled(self.elements(operand))

    def annotated(self, value: Value, quant: Quant | None) -> Value:
        return value if quant is None else self.add("q.annotate", [value], **quant_attributes(quant))

    def elements(self, operand: Operand) -> Array:
        dtype = operand.dtype.numpy
        if operand.elements is not None:
            return np.array(operand.elements, dtype).reshape(operand.shape)
        if operand.dtype.is_float:
            noise = self.noise.standard_normal(operand.shape) * operand.scale
            return (np.abs(noise) + 0.1 if operand.positive else noise).astype(dtype)
        high = 2 if operand.dtype == DType.BOOL else 100
        return (self.noise.integers(0, high, operand.shape) * operand.scale).astype(dtype)

    def scaled(self, array: Array) -> Value:
        """A scalar input of one made as long as `array`, one axis after the other, and multiplied with it;
        compared for booleans.
        """
        name = f"x{len(self.graph.inputs)}"
        value = self.graph.add_input(TensorType((1,) * array.ndim, DType.of(array.dtype)), name)
        both = "nn.and" if array.dtype == np.bool_ else "nn.mul"
        for axis in range(array.ndim):
            ones = np.ones([d if a == axis else 1 for a, d in enumerate(array.shape)], array.dtype)
            value = self.add(both, [value, self.constant(ones)])
        return self.add(both, [value, self.constant(array)])

    def finish(self, value: Value) -> None:
        if value.type.quant is not None:
            value = self.add("q.dequantize", [value])
        if value.type.dtype != DType.F32:
            value = self.add("nn.cast", [value], dtype=DType.F32)
        weights = self.constant(self.noise.standard_normal(value.type.shape).astype(np.float32))
        value = self.add("nn.mul", [value, weights])
        axes = tuple(range(value.type.rank))
        self.graph.set_outputs([self.add("nn.reduce_sum", [value], axes=axes, keepdims=False)], ["y"])


def free_axes(channels: Channels, op: Operator) -> str:
    """The operator's axes that may lose channels, as `Example.free` writes them."""
    ports = dict.fromkeys(op.results, "=") | {v: str(i) for i, v in enumerate(op.operands)}
    parts = []
    for group in channels.groups:
        axes = sorted(f"{ports[m.value]}.{m.axis}" for m in group.members if m.value in ports)
        if axes and " ".join(axes) not in parts:
            parts.append(" ".join(axes))
    return " | ".join(sorted(parts))


def check_closed(closed: Closed, seed: int) -> None:
    """AssertionError where masking and removing a random decision differ."""
    ones = {v.name: np.ones(v.type.shape, v.type.dtype.numpy) for v in closed.graph.inputs}
    check(closed.graph, seed, ones)


def free_of(closed: Closed) -> str:
    return free_axes(find_channels(closed.graph), closed.operator)
