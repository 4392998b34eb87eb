"""Operators whose result is known while reading: Constant, Shape, Size, Range, ConstantOfShape, EyeLike."""

from __future__ import annotations

import math

import numpy as np

from ..graph import Value
from ..types import TensorType, extents
from .node import Handler, Node, NodeError
from .tensors import dtype_of

MAX_RANGE = 1 << 24
"""Elements that a few bytes may have computed while reading."""


def constant(node: Node) -> Value:
    if node.has("value"):
        return node.constant(node.tensor("value"))
    if node.has("sparse_value"):
        return node.constant(node.sparse_tensor("sparse_value"))
    if node.has("value_float"):
        return node.constant(np.array(node.number("value_float"), np.float32))
    if node.has("value_floats"):
        return node.constant(np.array(node.floats("value_floats"), np.float32))
    if node.has("value_int"):
        return node.constant(np.array(node.integer("value_int"), np.int64))
    if node.has("value_ints"):
        return node.constant(np.array(node.ints("value_ints"), np.int64))
    raise NodeError("only dense numeric values are supported")


def shape(node: Node) -> Value:
    extents = node.input(0).type.shape
    start, end = node.integer("start", 0), node.integer("end", len(extents))
    return node.constant(
        np.array(extents[_clamped(start, len(extents)) : _clamped(end, len(extents))], np.int64)
    )


def _clamped(index: int, rank: int) -> int:
    return min(max(index + rank if index < 0 else index, 0), rank)


def size(node: Node) -> Value:
    return node.constant(np.array(node.input(0).type.elements, np.int64))


def range_(node: Node) -> Value:
    start, limit, delta = (node.known(i, what) for i, what in enumerate(("start", "limit", "delta")))
    if not start.size == limit.size == delta.size == 1 or len({start.dtype, limit.dtype, delta.dtype}) != 1:
        raise NodeError("start, limit and delta must be scalars of one type")
    first, last, step = (a.reshape(()).item() for a in (start, limit, delta))
    if not all(map(math.isfinite, (first, last, step))) or step == 0:
        raise NodeError(f"range from {first} to {last} by {step} does not end")
    count = max(0, math.ceil((last - first) / step))
    if count > MAX_RANGE:
        raise NodeError(f"a range of {count} elements, the limit is {MAX_RANGE}")
    return node.constant((first + step * np.arange(count)).astype(start.dtype))


def constant_of_shape(node: Node) -> Value:
    wanted = node.known_ints(0, "shape")
    value = node.tensor("value") if node.has("value") else np.zeros(1, np.float32)
    if value.size != 1 or min(wanted, default=0) < 0:
        raise NodeError(
            f"needs one value and a shape without negative extents, got {extents(value.shape)} and {wanted}"
        )
    return node.emit("expand", [node.constant(value.reshape(()))], shape=wanted)


def eye_like(node: Node) -> Value:
    """Ones on diagonal `k` of a matrix; nothing of the operand matters but its type."""
    like = node.input(0).type
    if like.rank != 2:
        raise NodeError(f"the input has shape {extents(like.shape)}, not that of a matrix")
    dtype = dtype_of(node.integer("dtype")) if node.has("dtype") else like.dtype
    node.builder.count(TensorType(like.shape, dtype))
    return node.constant(np.eye(like.shape[0], like.shape[1], k=node.integer("k", 0), dtype=dtype.numpy))


HANDLERS: dict[str, Handler] = {
    "Constant": constant,
    "Shape": shape,
    "Size": size,
    "Range": range_,
    "ConstantOfShape": constant_of_shape,
    "EyeLike": eye_like,
}
