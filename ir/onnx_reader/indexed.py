"""Gathering and scattering by known indices in several axes.

Exporters make them of rows and columns picked of an image, and of assignments to a part of it. The parts are
numbered, and taken along one axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..graph import Value, constant_of
from ..ops.rules import normalize_axis
from ..types import extents
from .cuts import reason_of
from .node import Handler, Node, NodeError, UnsupportedError

Whole = NDArray[np.int64]


def _indices(node: Node) -> Whole:
    """Operand 1; UnsupportedError where nobody knows it yet."""
    known = constant_of(node.input(1))
    if known is None:
        raise UnsupportedError(reason_of(node.proto))
    return np.asarray(known, np.int64)


def _numbers(indices: Whole, taken: Sequence[int]) -> Whole:
    """The row-major numbers of coordinates in axes of the extents `taken`, the coordinates last."""
    limits = np.array(taken, np.int64)
    if ((indices < -limits) | (indices >= limits)).any():
        raise NodeError(f"an index is outside the axes of extents {extents(taken)}")
    strides = [math.prod(taken[i + 1 :]) for i in range(len(taken))]
    found: Whole = np.where(indices < 0, indices + limits, indices) @ np.array(strides, np.int64)
    return found


def _parts(node: Node, x: Value) -> tuple[Whole, int]:
    """Of GatherND and ScatterND: the parts' numbers, and how many of the first axes number them."""
    indices = _indices(node)
    depth = indices.shape[-1] if indices.ndim else 0
    if not 1 <= depth <= x.type.rank:
        raise NodeError(
            f"indices of shape {extents(indices.shape)} do not fit a tensor of rank {x.type.rank}"
        )
    return _numbers(indices, x.type.shape[:depth]), depth


def _elements(node: Node, x: Value) -> Whole:
    """Of GatherElements and ScatterElements: the number of the element that each index is for."""
    indices, shape = _indices(node), x.type.shape
    axis = normalize_axis(node.integer("axis", 0), x.type.rank)
    beside = [i for i in range(x.type.rank) if i != axis]
    if indices.ndim != x.type.rank or any(indices.shape[i] > shape[i] for i in beside):
        raise NodeError(f"indices of shape {extents(indices.shape)} do not fit {extents(shape)}")
    places = np.indices(indices.shape, np.int64)
    places[axis] = indices
    return _numbers(np.moveaxis(places, 0, -1), shape)


def _gathered(node: Node, x: Value, numbers: Whole, depth: int) -> Value:
    """Parts of `x` by their numbers, which give the shape."""
    taken, rest = x.type.shape[:depth], x.type.shape[depth:]
    parts = node.emit("reshape", [x], shape=(math.prod(taken), *rest))
    return node.emit("gather", [parts, node.constant(numbers)], axis=0)


def _scattered(node: Node, x: Value, numbers: Whole, depth: int) -> Value:
    """`x` but for the parts of these numbers, which are operand 2's: of all parts, each the last one said."""
    updates, rest, count = node.input(2), x.type.shape[depth:], math.prod(x.type.shape[:depth])
    if node.string("reduction", "none") != "none":
        raise UnsupportedError("")
    if updates.type.shape != (*numbers.shape, *rest):
        raise NodeError(f"updates of shape {extents(updates.type.shape)} do not fit the indices")
    places = np.arange(count)
    places[numbers.reshape(-1)] = count + np.arange(numbers.size)
    old = node.emit("reshape", [x], shape=(count, *rest))
    new = node.emit("reshape", [updates], shape=(numbers.size, *rest))
    both = node.emit("concat", [old, new], axis=0)
    found = node.emit("gather", [both, node.constant(places)], axis=0)
    return node.emit("reshape", [found], shape=x.type.shape)


def gather_nd(node: Node) -> Value:
    x = node.input(0)
    if node.integer("batch_dims", 0):
        raise UnsupportedError(reason_of(node.proto))
    return _gathered(node, x, *_parts(node, x))


def gather_elements(node: Node) -> Value:
    x = node.input(0)
    return _gathered(node, x, _elements(node, x), x.type.rank)


def scatter_nd(node: Node) -> Value:
    x = node.input(0)
    return _scattered(node, x, *_parts(node, x))


def scatter_elements(node: Node) -> Value:
    x = node.input(0)
    return _scattered(node, x, _elements(node, x), x.type.rank)


HANDLERS: dict[str, Handler] = {
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
}
