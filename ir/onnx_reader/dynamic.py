"""Quantization with a scale or zero point that is computed, as element-wise operators on reals.

The types of quantized tensors hold constants, so such a tensor is one of plain integers here. What
comes out is what ONNX defines, to the last bit: quotients are rounded once, half to even, and sums of
whole numbers below 2^24 are exact in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Value, constant_of
from ..ops.rules import normalize_axis
from ..types import DType, extents
from .elementwise import cast_to
from .node import Node, NodeError
from .tensors import dtype_of

STORED = (DType.I8, DType.U8, DType.I16, DType.U16)
"""The types that quantization to a computed scale stores."""


def is_computed(node: Node) -> bool:
    """Whether the scale (input 1) or the zero point (input 2) is not known while reading."""
    given = [node.input(1), node.optional(2)]
    return any(value is not None and constant_of(value) is None for value in given)


def along(node: Node, given: Value, x: Value, axis: int, what: str) -> Value:
    """A scalar, or a list along `axis` of `x`, in a shape that broadcasts to x's."""
    if given.type.elements == 1:
        return node.emit("reshape", [given], shape=())
    at = normalize_axis(axis, x.type.rank)
    if given.type.shape != (x.type.shape[at],):
        raise NodeError(
            f"{what}s of shape {extents(given.type.shape)} do not fit axis {at} of {extents(x.type.shape)}"
        )
    shape = [1] * x.type.rank
    shape[at] = given.type.elements
    return node.emit("reshape", [given], shape=tuple(shape))


def scalar(node: Node, value: float) -> Value:
    return node.constant(np.array(value, np.float32))


def _scale(node: Node, x: Value) -> Value:
    scale = node.input(1)
    if not scale.type.dtype.is_float:
        raise NodeError(f"scale is {scale.type.dtype.value}")
    return along(node, scale, x, node.integer("axis", 1), "scale")


def _zero(node: Node, x: Value) -> Value | None:
    """The zero point as float32."""
    given = node.optional(2)
    if given is None:
        return None
    if given.type.dtype.is_float:
        raise NodeError(f"zero point is {given.type.dtype.value}")
    return cast_to(node, along(node, given, x, node.integer("axis", 1), "zero point"), DType.F32)


def stored(node: Node, x: Value, scale: Value, zero: Value | None, dtype: DType) -> Value:
    """saturate(round(x / scale) + zero), the quotient in the scale's type, the rest in float32."""
    if dtype not in STORED:
        raise NodeError(f"quantization to {dtype.value} with a computed scale is not supported")
    quotient = node.emit("div", [cast_to(node, x, scale.type.dtype), scale])
    steps = cast_to(node, node.emit("round", [quotient]), DType.F32)
    moved = steps if zero is None else node.emit("add", [steps, zero])
    return _saturated(node, moved, dtype)


def _saturated(node: Node, x: Value, dtype: DType) -> Value:
    limits: Any = np.iinfo(dtype.numpy)
    clipped = node.emit("clip", [x], min=float(limits.min), max=float(limits.max))
    return node.emit("cast", [clipped], dtype=dtype)


def quantize_computed(node: Node, dtype: DType) -> Value:
    """QuantizeLinear; `precision` names the type of the quotient."""
    x, scale = node.input(0), _scale(node, node.input(0))
    precision = node.integer("precision", 0)
    if precision:
        scale = cast_to(node, scale, dtype_of(precision))
    return stored(node, x, scale, _zero(node, x), dtype)


def dequantize_computed(node: Node, dtype: DType) -> Value:
    """DequantizeLinear: (x - zero) scale, in float32 until the end."""
    x, scale = node.input(0), _scale(node, node.input(0))
    wide, zero = cast_to(node, x, DType.F32), _zero(node, x)
    steps = wide if zero is None else node.emit("sub", [wide, zero])
    return cast_to(node, node.emit("mul", [steps, cast_to(node, scale, DType.F32)]), dtype)


def dynamically_quantized(node: Node, x: Value) -> tuple[Value, Value, Value]:
    """`x` in u8, the scale and the zero point that its least and largest element, and 0, span.

    Of a tensor that is all 0 the scale is 1 / 255, as ONNX's reference has it.
    """
    if x.type.dtype != DType.F32:
        raise NodeError(f"the input is {x.type.dtype.value}, not f32")
    none, axes = scalar(node, 0), tuple(range(x.type.rank))
    low = node.emit("min", [node.emit("reduce_min", [x], axes=axes, keepdims=False), none])
    high = node.emit("max", [node.emit("reduce_max", [x], axes=axes, keepdims=False), none])
    span = node.emit("sub", [high, low])
    span = node.emit("where", [node.emit("equal", [span, none]), scalar(node, 1), span])
    scale = node.emit("div", [span, scalar(node, 255)])
    origin = node.emit("sub", [none, node.emit("div", [low, scale])])
    zero = _saturated(node, node.emit("round", [origin]), DType.U8)
    return stored(node, x, scale, cast_to(node, zero, DType.F32), DType.U8), scale, zero


def dynamic_quantize_linear(node: Node) -> list[Value]:
    return list(dynamically_quantized(node, node.input(0)))
