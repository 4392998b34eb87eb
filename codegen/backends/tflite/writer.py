"""A quantized graph becomes a TFLite file: values in their orders, and what every mapper shares.

Bytes of the IR are u8; the file's are i8, the same integers less 128, so that zero points move with them.
Whatever cannot be said in TFLite is remembered with its operator, and refused together at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import DType, Quant, TensorType

from ...targets.tflite import Tflite
from .file import File
from .order import Order, Shape, channels_last, plain, refined

Array = NDArray[Any]
SIGN = 128


class Unmapped(Exception):  # noqa: N818  (no error yet: the writer collects them)
    """Why an operator has no form in TFLite."""


def need(condition: bool, reason: str) -> None:
    """Raises Unmapped where an operator has no form in TFLite."""
    if not condition:
        raise Unmapped(reason)


def stored_dtype(type: TensorType) -> np.dtype[Any]:
    """The element type in the file: i8 for bytes of either sign."""
    return np.dtype(np.int8) if type.dtype == DType.U8 else type.dtype.numpy


def stored_quant(type: TensorType) -> Quant | None:
    """The quantization in the file."""
    if type.quant is None or type.dtype != DType.U8:
        return type.quant
    return replace(type.quant, zero_points=tuple(z - SIGN for z in type.quant.zero_points))


def stored_array(array: Array) -> Array:
    """Elements in the file."""
    return (array ^ SIGN).view(np.int8) if array.dtype == np.uint8 else array


@dataclass(frozen=True)
class Held:
    """Where a value is: a tensor of the file, the order of its elements, and the tensor's shape."""

    tensor: int
    order: Order
    shape: Shape


@dataclass(eq=False)
class Writer:
    """The file so far, and where each value of the graph is in it."""

    graph: Graph
    machine: Tflite
    file: File = field(default_factory=File)
    held: dict[Value, Held] = field(default_factory=dict)
    _laid: dict[tuple[int, Order, Shape], int] = field(default_factory=dict)

    # Reading ----------------------------------------------------------------------------------------

    def order_of(self, value: Value) -> Order:
        """The order that a value is held in; a constant has that of the IR."""
        return plain(value.type.shape) if value.is_constant else self._where(value).order

    def read(self, value: Value, wanted: Order, shape: Shape) -> int:
        """The tensor that holds `value` in an order and shape, moved there if it is elsewhere."""
        array = constant_of(value)
        if array is not None:
            laid = stored_array(wanted.laid(array)).reshape(shape)
            return self.file.constant(value.name, laid, stored_quant(value.type))
        held = self._where(value)
        if (held.order, held.shape) == (wanted, shape):
            return held.tensor
        key = (held.tensor, wanted, shape)
        if key not in self._laid:
            self._laid[key] = self._moved(value, held, wanted, shape)
        return self._laid[key]

    def _where(self, value: Value) -> Held:
        need(value in self.held, f"its operand %{value.name} has no form in TFLite")
        return self.held[value]

    def image(self, value: Value) -> int:
        """The tensor that holds a value with channels last, four axes where there is one of space too."""
        return self.read(value, channels_last(value.type.shape), image_shape(value.type.shape))

    def _moved(self, value: Value, held: Held, wanted: Order, shape: Shape) -> int:
        tensor = held.tensor
        if held.order != wanted:
            tensor, held = self._transposed(value, held, wanted)
        return tensor if held.shape == shape else self.reshaped(value.name, value.type, tensor, shape)

    def _transposed(self, value: Value, held: Held, wanted: Order) -> tuple[int, Held]:
        """The value's elements in another order, by a TRANSPOSE between what reshapes them to its axes."""
        cut = common_cut(held.order, wanted)
        need(cut is not None, f"%{value.name} has its elements in an order that no transpose makes")
        assert cut is not None
        shape, perm = cut
        tensor = held.tensor
        if held.shape != shape:
            tensor = self.reshaped(value.name, value.type, tensor, shape)
        after = tuple(shape[p] for p in perm)
        made = self.result(value.name, value.type, after)
        axes = self.file.constant("perm", np.array(perm, np.int32))
        self.file.operator("TRANSPOSE", 2, [tensor, axes], [made], "TransposeOptions")
        return made, Held(made, wanted, after)

    def reshaped(self, name: str, type: TensorType, tensor: int, shape: Shape) -> int:
        """The elements of a tensor in another one, under another shape or the same."""
        made = self.result(name, type, shape)
        wanted = self.file.constant("shape", np.array(shape, np.int32))
        self.file.operator(
            "RESHAPE", 1, [tensor, wanted], [made], "ReshapeOptions", newShape=[int(d) for d in shape]
        )
        return made

    # Writing ----------------------------------------------------------------------------------------

    def result(self, name: str, type: TensorType, shape: Shape) -> int:
        """A new tensor for a value of `type`."""
        return self.file.tensor(name or "value", shape, stored_dtype(type), stored_quant(type))

    def make(self, value: Value, wanted: Order, shape: Shape) -> int:
        """A new tensor that holds `value`."""
        tensor = self.result(value.name or (value.producer.loc if value.producer else ""), value.type, shape)
        self.held[value] = Held(tensor, wanted, shape)
        return tensor

    def make_image(self, value: Value) -> int:
        """A new tensor that holds `value` with channels last."""
        return self.make(value, channels_last(value.type.shape), image_shape(value.type.shape))

    def same(self, value: Value, held: Held) -> None:
        """The value is where another one is already."""
        self.held[value] = held

    def held_at(self, tensor: int, wanted: Order) -> Held:
        """A tensor of the file, in whatever order its elements are."""
        return Held(tensor, wanted, tuple(int(d) for d in self.file.tensors[tensor].shape))


def image_shape(shape: Shape) -> Shape:
    """Channels last; an axis of 1 stands for the height where there is one axis of space."""
    n, c, *space = shape
    return (n, *(() if len(space) > 1 else (1,)), *space, c)


def common_cut(held: Order, wanted: Order) -> tuple[Shape, Shape] | None:
    """The shape and the permutation by which a TRANSPOSE makes one order of another; None where none does."""
    if prod(held.split) != prod(wanted.split):
        return None
    fine = _finest(held, wanted)
    if fine is None:
        return None
    split, source, target = fine
    place = {axis: at for at, axis in enumerate(source)}
    return tuple(split[a] for a in source), tuple(place[a] for a in target)


def _finest(held: Order, wanted: Order) -> tuple[Shape, list[int], list[int]] | None:
    """A split that both orders' axes consist of, and each order's permutation of it."""
    first, second = refined(held, wanted.split), refined(wanted, held.split)
    if first is None or second is None:
        return None
    return first[0].split, list(first[0].perm), list(second[0].perm)


def limited_as(op: Operator, limits: Sequence[int]) -> str:
    """The fused activation that limits stored bytes to `limits`; Unmapped where there is none."""
    scale, zero = one_quant(op.result.type)
    for name, bounds in ACTIVATIONS.items():
        low, high = (None if b is None else zero + _rounded(b, scale) for b in bounds)
        found = (0 if low is None else max(0, low), 255 if high is None else min(255, high))
        if found == tuple(limits):
            return name
    raise Unmapped(
        f"it limits its result to {limits[0]}..{limits[1]} of 0..255, as no activation of TFLite does"
    )


ACTIVATIONS: dict[str, tuple[float | None, float | None]] = {
    "NONE": (None, None),
    "RELU": (0.0, None),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
"""Fused activations and their bounds."""


def _rounded(bound: float, scale: float) -> int:
    steps = float(np.float32(bound) / np.float32(scale))
    return int(np.copysign(np.floor(abs(steps) + 0.5), steps))


Mapper = Callable[[Writer, Operator], None]
