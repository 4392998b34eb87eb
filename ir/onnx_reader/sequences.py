"""Sequences of tensors, which exist while reading only: exporters split into them and join them again."""

from __future__ import annotations

import numpy as np

from ..graph import Value
from ..ops.rules import normalize_axis
from .movement import cut
from .node import Handler, Node, NodeError, Values


def construct(node: Node) -> Values:
    return tuple(node.all_inputs())


def empty(_node: Node) -> Values:
    return ()


def _position(node: Node, index: int, count: int, default: int) -> int:
    """The place that input `index` names among `count`; negative ones count from the end."""
    if node.optional(index) is None:
        return default
    (at,) = node.known_ints(index, "position")
    if not -count <= at < count:
        raise NodeError(f"position {at} is outside {count}")
    return at % count


def at(node: Node) -> Value:
    values = node.sequence(0)
    if not values:
        raise NodeError("an element of an empty sequence")
    return values[_position(node, 1, len(values), 0)]


def insert(node: Node) -> Values:
    values = node.sequence(0)
    place = _position(node, 2, len(values) + 1, len(values))
    return (*values[:place], node.input(1), *values[place:])


def erase(node: Node) -> Values:
    values = node.sequence(0)
    if not values:
        raise NodeError("an element of an empty sequence")
    place = _position(node, 1, len(values), len(values) - 1)
    return (*values[:place], *values[place + 1 :])


def length(node: Node) -> Value:
    return node.constant(np.array(len(node.sequence(0)), np.int64))


def split_to_sequence(node: Node) -> Values:
    x = node.input(0)
    axis = normalize_axis(node.integer("axis", 0), x.type.rank)
    extent = x.type.shape[axis]
    sizes = _sizes(node, extent)
    if min(sizes, default=0) < 0 or sum(sizes) != extent:
        raise NodeError(f"parts {sizes} do not add up to {extent}")
    ends = np.cumsum(sizes)
    parts = [cut(node, x, axis, int(end) - size, size) for end, size in zip(ends, sizes, strict=True)]
    if node.optional(1) is None and not node.flag("keepdims", True):
        rest = tuple(d for i, d in enumerate(x.type.shape) if i != axis)
        parts = [node.emit("reshape", [part], shape=rest) for part in parts]
    return tuple(parts)


def _sizes(node: Node, extent: int) -> tuple[int, ...]:
    """Extents of the parts: as listed, of one size with what is left at the end, or of one each."""
    if node.optional(1) is None:
        return (1,) * extent
    given = node.known(1, "split")
    if given.ndim:
        return node.known_ints(1, "split")
    size = int(given)
    if size < 1:
        raise NodeError(f"parts of {size}")
    return tuple(min(size, extent - start) for start in range(0, extent, size))


def concat_from_sequence(node: Node) -> Value:
    values, axis = list(node.sequence(0)), node.integer("axis")
    if not values:
        raise NodeError("an empty sequence has no concatenation")
    if node.flag("new_axis"):
        at_axis = normalize_axis(axis, values[0].type.rank + 1)
        values = [node.with_axis(v, at_axis) for v in values]
        axis = at_axis
    return node.emit("concat", values, axis=axis)


STRUCTURE: dict[str, Handler] = {
    "SequenceConstruct": construct,
    "SequenceEmpty": empty,
    "SequenceAt": at,
    "SequenceInsert": insert,
    "SequenceErase": erase,
    "SequenceLength": length,
    "SplitToSequence": split_to_sequence,
    "ConcatFromSequence": concat_from_sequence,
}
