"""QuantizeLinear and DequantizeLinear, read into quantized types where scale and zero point are constants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..graph import Value, constant_of
from ..ops.quantize import quant_attributes
from ..ops.rules import normalize_axis
from ..types import DType, Quant, extents
from .dynamic import dequantize_computed, dynamic_quantize_linear, is_computed, quantize_computed
from .node import Handler, Node, NodeError
from .tensors import Array, dtype_of

STORED = (DType.I8, DType.U8, DType.I16, DType.U16, DType.I32)


def quant_of(node: Node, at: int, rank: int, axis: int) -> Quant:
    """Scale (input `at`) and zero point (the next), constants: one each, or one for each index of `axis`."""
    scale = node.known(at, "scale")
    given = node.optional(at + 1)
    zero = node.known(at + 1, "zero point") if given is not None else np.zeros(scale.shape, np.uint8)
    lists = scale.ndim <= 1 and (scale.shape == zero.shape or scale.size == zero.size == 1)
    if not lists:
        raise NodeError(
            f"scale of shape {extents(scale.shape)} and zero point of shape {extents(zero.shape)} "
            "must be scalars or lists of one length"
        )
    if not np.issubdtype(scale.dtype, np.floating) or not np.issubdtype(zero.dtype, np.integer):
        raise NodeError(f"scale is {scale.dtype}, zero point is {zero.dtype}")
    zeros = tuple(int(z) for z in zero.reshape(-1))
    axis_or_none = None if scale.size == 1 else normalize_axis(axis, rank)
    return Quant(positive(scale.astype(np.float32).reshape(-1)), zeros, axis_or_none)


def positive(scales: Array) -> tuple[float, ...]:
    """The scales, 0 (of a channel that is all 0) replaced by the largest, or 1; see `live`."""
    other = float(np.nanmax(scales, initial=0.0)) or 1.0
    return tuple(float(s) or other for s in scales)


def live(node: Node, x: Value, quant: Quant, dead: Array) -> Value:
    """`x` at its zero point where `dead`, by scale, holds: of scale 0, it stands for 0 whatever it holds."""
    if not dead.any():
        return x
    shape = [1] * x.type.rank
    if quant.axis is not None:
        shape[quant.axis] = len(quant.scales)
    zero = np.array(quant.zero_points, x.type.dtype.numpy).reshape(shape)
    array, mask = constant_of(x), np.broadcast_to(dead, (len(quant.scales),)).reshape(shape)
    if array is None:
        return node.emit("where", [node.constant(mask), node.constant(zero), x])
    found = node.constant(np.where(mask, zero, array))
    found.name = x.name
    return found


def dead_scales(node: Node, at: int) -> Array:
    """Which of the scales at input `at` are 0."""
    found: Array = node.known(at, "scale").astype(np.float32).reshape(-1) == 0
    return found


def _refuse_blocks(node: Node) -> None:
    if node.integer("block_size", 0):
        raise NodeError("blocked quantization is not supported")


def _quant(node: Node, x: Value) -> Quant:
    return quant_of(node, 1, x.type.rank, node.integer("axis", 1))


def _stored(node: Node) -> DType:
    """The type that QuantizeLinear stores: the zero point's, else `output_dtype`, else uint8."""
    named = node.integer("output_dtype", 0)
    given = node.optional(2)
    if given in node.builder.few_bits:
        raise NodeError("quantization to fewer than 8 bits is not supported")
    dtype = given.type.dtype if given is not None else dtype_of(named) if named else DType.U8
    if dtype not in STORED:
        raise NodeError(f"quantization to {dtype.value} is not supported")
    return dtype


def quantize_linear(node: Node) -> Value:
    x, dtype = node.input(0), _stored(node)
    _refuse_blocks(node)
    if is_computed(node):
        return quantize_computed(node, dtype)
    return quantized(node, x, dtype, _quant(node, x))


def quantized(node: Node, x: Value, dtype: DType, quant: Quant) -> Value:
    """`x` stored as `dtype`."""
    if not x.type.dtype.is_float:
        x = node.emit("cast", [x], dtype=DType.F32)
    return node.emit_q("quantize", [x], dtype=dtype, **quant_attributes(quant))


def dequantize_linear(node: Node) -> Value:
    x = node.input(0)
    named = node.integer("output_dtype", 0)
    dtype = dtype_of(named) if named else node.input(1).type.dtype
    if node.integer("block_size", 0):
        return _dequantized_blocks(node, dtype)
    if is_computed(node):
        return dequantize_computed(node, dtype)
    quant = _quant(node, x)
    return dequantized(node, live(node, x, quant, dead_scales(node, 1)), quant, dtype)


def _dequantized_blocks(node: Node, dtype: DType) -> Value:
    """Known integers as reals, a scale and a zero point for so many of them along the axis."""
    if constant_of(node.input(0)) is None:
        raise NodeError("blocked quantization of what is computed is not supported")
    stored, scale = node.known(0, "the integers"), node.known(1, "scale")
    axis, size = normalize_axis(node.integer("axis", 1), stored.ndim), node.integer("block_size")
    wanted = list(stored.shape)
    wanted[axis] = -(-wanted[axis] // size) if size > 0 else 0
    zero = node.known(2, "zero point") if node.optional(2) is not None else np.zeros(scale.shape, np.int8)
    if list(scale.shape) != wanted or zero.shape != scale.shape:
        raise NodeError(
            f"scale of shape {extents(scale.shape)} and zero point of shape {extents(zero.shape)} do not fit "
            f"blocks of {size} along axis {axis} of {extents(stored.shape)}"
        )
    each = [
        np.take(np.repeat(a, size, axis), range(stored.shape[axis]), axis).astype(np.float32)
        for a in (scale, zero)
    ]
    return node.constant(((stored.astype(np.float32) - each[1]) * each[0]).astype(dtype.numpy))


def dequantized(node: Node, x: Value, quant: Quant, dtype: DType = DType.F32) -> Value:
    """The reals that `x`, read with `quant`, stands for."""
    if x.type.dtype not in STORED:
        raise NodeError(f"quantized {x.type.dtype.value} is not supported")
    return node.emit_q("dequantize", [_annotated(node, x, quant)], dtype=dtype)


def _annotated(node: Node, x: Value, quant: Quant) -> Value:
    """`x` with `quant` in its type: as it is, as a constant of that type, or annotated."""
    if x.type.quant == quant:
        return x
    array: Any = constant_of(x)
    if array is None:
        return node.emit_q("annotate", [x], **quant_attributes(quant))
    typed = node.constant(array)
    typed.type, typed.name = replace(typed.type, quant=quant), x.name
    return typed


HANDLERS: dict[str, Handler] = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
}
