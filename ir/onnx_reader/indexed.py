"""Gathering and scattering by indices in several axes.

Exporters make them of rows and columns picked of an image, of assignments to a part of it, and detectors of
the boxes that score best. The parts are numbered, and taken along one axis: of known indices while reading,
of computed ones by integer operators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graph import Value, constant_of
from ..ops.places import REDUCTIONS
from ..ops.rules import normalize_axis
from ..types import DType, extents
from .elementwise import cast_to
from .node import Handler, Node, NodeError

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Places:
    """Where parts lie: `numbers` (any shape, i64) of parts of a tensor whose first `depth` axes number them.

    `known` has the numbers where they are known.
    """

    numbers: Value
    depth: int
    known: Whole | None


def _counted(node: Node, indices: Value, taken: Sequence[int], apart: bool) -> Value:
    """Indices of axes of the extents `taken`, negative ones counted from the front; ModelError out of range.

    They are listed along the last axis, where not `apart`.
    """
    known = constant_of(indices)
    limits = np.array(taken, np.int64)
    if known is not None:
        if ((known < -limits) | (known >= limits)).any():
            raise NodeError(f"an index is outside the axes of extents {extents(taken)}")
        return node.constant(np.where(known < 0, known + limits, known).astype(np.int64))
    wide = cast_to(node, indices, DType.I64)
    limit = node.constant(limits.reshape(()) if apart else limits)
    negative = node.emit("less", [wide, node.constant(np.array(0))])
    return node.emit("where", [negative, node.emit("add", [wide, limit]), wide])


def _places(node: Node, numbers: Value, base: Whole, depth: int) -> Places:
    """Of the sum of computed numbers and of known ones that broadcast to them."""
    known = constant_of(numbers)
    if known is not None:
        summed: Whole = np.asarray(known + base, np.int64)
        return Places(node.constant(summed), depth, summed)
    return Places(node.emit("add", [numbers, node.constant(base)]) if base.any() else numbers, depth, None)


def _scaled(node: Node, indices: Value, strides: Sequence[int], apart: bool) -> Value:
    """Sums of indices times strides along the last axis; where `apart`, indices times the only stride."""
    known, by = constant_of(indices), np.array(strides, np.int64)
    if known is not None:
        return node.constant(known * by[0] if apart else known @ by)
    if apart:
        return node.emit("mul", [indices, node.constant(by.reshape(()))])
    if len(strides) == 1:
        return node.emit("reshape", [indices], shape=indices.type.shape[:-1])
    terms = node.emit("mul", [indices, node.constant(by)])
    return node.emit("reduce_sum", [terms], axes=(indices.type.rank - 1,), keepdims=False)


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def _parts(node: Node, x: Value, batch: int = 0) -> Places:
    """Of GatherND and ScatterND; the first `batch` axes of indices and tensor go together."""
    indices = node.input(1)
    shape = indices.type.shape
    depth = shape[-1] if shape else 0
    if not 1 <= depth <= x.type.rank - batch or batch >= len(shape) or shape[:batch] != x.type.shape[:batch]:
        raise NodeError(
            f"indices of shape {extents(shape)} do not fit a tensor of shape {extents(x.type.shape)}"
        )
    taken = x.type.shape[batch : batch + depth]
    numbers = _scaled(node, _counted(node, indices, taken, False), _strides(taken), False)
    base = np.arange(math.prod(shape[:batch]), dtype=np.int64) * math.prod(taken)
    return _places(
        node, numbers, base.reshape(*shape[:batch], *[1] * (len(shape) - 1 - batch)), batch + depth
    )


def _elements(node: Node, x: Value, indices: Value, axis: int) -> Places:
    """Of GatherElements and ScatterElements: the number of the element that each index is for."""
    shape, wanted = x.type.shape, indices.type.shape
    axis = normalize_axis(axis, x.type.rank)
    beside = [i for i in range(x.type.rank) if i != axis]
    if len(wanted) != len(shape) or any(wanted[i] > shape[i] for i in beside):
        raise NodeError(f"indices of shape {extents(wanted)} do not fit {extents(shape)}")
    strides = _strides(shape)
    numbers = _scaled(node, _counted(node, indices, shape[axis : axis + 1], True), [strides[axis]], True)
    grid = np.indices([1 if i == axis else d for i, d in enumerate(wanted)], np.int64)
    base = sum((grid[i] * strides[i] for i in beside), np.zeros(grid.shape[1:], np.int64))
    return _places(node, numbers, base, x.type.rank)


def _gathered(node: Node, x: Value, places: Places) -> Value:
    """Parts of `x` by their numbers, which give the shape."""
    taken, rest = x.type.shape[: places.depth], x.type.shape[places.depth :]
    parts = node.emit("reshape", [x], shape=(math.prod(taken), *rest))
    return node.emit("gather", [parts, places.numbers], axis=0)


def gathered_elements(node: Node, x: Value, indices: Value, axis: int) -> Value:
    """What GatherElements gives."""
    return _gathered(node, x, _elements(node, x, indices, axis))


def _scattered(node: Node, x: Value, places: Places) -> Value:
    """`x` with operand 2's parts put at these numbers, one after the other."""
    updates, rest = node.input(2), x.type.shape[places.depth :]
    reduction = node.choice("reduction", "none", REDUCTIONS)
    if updates.type.shape != (*places.numbers.type.shape, *rest):
        raise NodeError(f"updates of shape {extents(updates.type.shape)} do not fit the indices")
    if reduction == "none" and places.known is not None:
        return _replaced(node, x, places.known, places.depth)
    count, size = math.prod(x.type.shape[: places.depth]), places.numbers.type.elements
    rows = [
        node.emit("reshape", [value], shape=(1, *shape))
        for value, shape in ((x, (count, *rest)), (places.numbers, (size,)), (updates, (size, *rest)))
    ]
    return node.emit("reshape", [node.emit("scatter", rows, reduction=reduction)], shape=x.type.shape)


def _replaced(node: Node, x: Value, numbers: Whole, depth: int) -> Value:
    """`x` but for the parts of known numbers, which are operand 2's: of all parts, each the last one said."""
    updates, rest, count = node.input(2), x.type.shape[depth:], math.prod(x.type.shape[:depth])
    places = np.arange(count)
    places[numbers.reshape(-1)] = count + np.arange(numbers.size)
    old = node.emit("reshape", [x], shape=(count, *rest))
    new = node.emit("reshape", [updates], shape=(numbers.size, *rest))
    both = node.emit("concat", [old, new], axis=0)
    found = node.emit("gather", [both, node.constant(places)], axis=0)
    return node.emit("reshape", [found], shape=x.type.shape)


def gather_nd(node: Node) -> Value:
    x = node.input(0)
    return _gathered(node, x, _parts(node, x, node.integer("batch_dims", 0)))


def gather_elements(node: Node) -> Value:
    return gathered_elements(node, node.input(0), node.input(1), node.integer("axis", 0))


def scatter_nd(node: Node) -> Value:
    x = node.input(0)
    return _scattered(node, x, _parts(node, x))


def scatter_elements(node: Node) -> Value:
    x = node.input(0)
    return _scattered(node, x, _elements(node, x, node.input(1), node.integer("axis", 0)))


HANDLERS: dict[str, Handler] = {
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
}
