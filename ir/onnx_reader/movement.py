"""Operators that change shapes or move data: Reshape, Transpose, Concat, Split, Slice, Gather, Pad..."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..graph import Value, constant_of
from ..ops.rules import broadcast, normalize_axis
from ..types import extents
from .node import Handler, Node, NodeError


def flatten(node: Node) -> Value:
    x = node.input(0)
    axis = node.integer("axis", 1)
    axis = axis if axis == x.type.rank else normalize_axis(axis, x.type.rank)
    return node.emit("reshape", [x], shape=(math.prod(x.type.shape[:axis]), math.prod(x.type.shape[axis:])))


def reshape(node: Node) -> Value:
    x, wanted = node.input(0), node.known_ints(1, "shape")
    return node.emit("reshape", [x], shape=settled_shape(x.type.shape, wanted, node.flag("allowzero")))


def settled_shape(old: tuple[int, ...], wanted: tuple[int, ...], allow_zero: bool) -> tuple[int, ...]:
    """The shape that Reshape's `wanted` stands for: 0 copies an extent, -1 takes what is left."""
    if any(w == 0 and i >= len(old) for i, w in enumerate(wanted)) and not allow_zero:
        raise NodeError(f"shape {wanted} copies an extent that {old} does not have")
    copied = [w if w or allow_zero else old[i] for i, w in enumerate(wanted)]
    if copied.count(-1) > 1 or min(copied, default=0) < -1:
        raise NodeError(f"shape {wanted} leaves more than one extent open")
    rest = math.prod(w for w in copied if w != -1)
    left = math.prod(old) // rest if rest else 0
    return tuple(left if w == -1 else w for w in copied)


def _axes(node: Node) -> tuple[int, ...] | None:
    """The axes of Squeeze and Unsqueeze: an attribute, since opset 13 an input."""
    if node.opset < 13:
        return node.ints("axes") if node.has("axes") else None
    return node.known_ints(1, "axes") if node.optional(1) is not None else None


def squeeze(node: Node) -> Value:
    x, axes = node.input(0), _axes(node)
    shape = x.type.shape
    gone = (
        {i for i, d in enumerate(shape) if d == 1}
        if axes is None
        else {normalize_axis(a, len(shape)) for a in axes}
    )
    if any(shape[a] != 1 for a in gone):
        raise NodeError(f"axes {sorted(gone)} of {extents(shape)} are not all of extent 1")
    return node.emit("reshape", [x], shape=tuple(d for i, d in enumerate(shape) if i not in gone))


def unsqueeze(node: Node) -> Value:
    x, axes = node.input(0), _axes(node)
    if axes is None:
        raise NodeError("axes are missing")
    rank = x.type.rank + len(axes)
    new = {normalize_axis(a, rank) for a in axes}
    if len(new) != len(axes):
        raise NodeError(f"axes {axes} name one axis twice")
    old = iter(x.type.shape)
    return node.emit("reshape", [x], shape=tuple(1 if i in new else next(old) for i in range(rank)))


def transpose(node: Node) -> Value:
    x = node.input(0)
    return node.emit("transpose", [x], perm=node.ints("perm", tuple(reversed(range(x.type.rank)))))


def concat(node: Node) -> Value:
    return node.emit("concat", node.all_inputs(), axis=node.integer("axis"))


def expand(node: Node) -> Value:
    x, wanted = node.input(0), node.known_ints(1, "shape")
    if min(wanted, default=0) < 0:
        raise NodeError(f"shape {wanted} is negative")
    return node.emit("expand", [x], shape=broadcast(x.type.shape, wanted))


def tile(node: Node) -> Value:
    return node.emit("tile", [node.input(0)], repeats=node.known_ints(1, "repeats"))


def split(node: Node) -> list[Value]:
    x = node.input(0)
    axis = normalize_axis(node.integer("axis", 0), x.type.rank)
    sizes = _split_sizes(node, x.type.shape[axis])
    if sum(sizes) != x.type.shape[axis] or min(sizes) < 0 or len(sizes) != len(node.proto.output):
        raise NodeError(
            f"parts {sizes} for {len(node.proto.output)} outputs do not add up to {x.type.shape[axis]}"
        )
    ends = np.cumsum(sizes)
    return [cut(node, x, axis, int(end) - size, size) for end, size in zip(ends, sizes, strict=True)]


def _split_sizes(node: Node, extent: int) -> tuple[int, ...]:
    if node.opset >= 13 and node.optional(1) is not None:
        return node.known_ints(1, "split") or (0,)
    if node.opset < 13 and node.has("split"):
        return node.ints("split") or (0,)
    parts = node.integer("num_outputs", len(node.proto.output))
    if not 1 <= parts <= len(node.proto.output):
        raise NodeError(f"attribute 'num_outputs' is {parts}, the node has {len(node.proto.output)} outputs")
    part = -(-extent // parts)
    return tuple(max(0, min(part, extent - i * part)) for i in range(parts))


def cut(node: Node, x: Value, axis: int, start: int, size: int) -> Value:
    """`size` indices of `axis` from `start` on."""
    starts = tuple(start if i == axis else 0 for i in range(x.type.rank))
    sizes = tuple(size if i == axis else d for i, d in enumerate(x.type.shape))
    return node.emit("slice", [x], starts=starts, sizes=sizes, steps=(1,) * x.type.rank)


def slice_(node: Node) -> Value:
    x = node.input(0)
    starts, ends, axes, steps = _slice_arguments(node, x.type.rank)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise NodeError(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} differ in length")
    whole = {a: (0, d, 1) for a, d in enumerate(x.type.shape)}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at = normalize_axis(axis, x.type.rank)
        if step == 0:
            raise NodeError("a step is 0")
        found = range(*slice(start, end, step).indices(x.type.shape[at]))
        whole[at] = (found.start if len(found) else 0, len(found), step)
    begins, sizes, strides = zip(*whole.values(), strict=True) if whole else ((), (), ())
    return node.emit("slice", [x], starts=tuple(begins), sizes=tuple(sizes), steps=tuple(strides))


def _slice_arguments(node: Node, rank: int) -> tuple[tuple[int, ...], ...]:
    """starts, ends, axes, steps: attributes, since opset 10 inputs."""
    if node.opset < 10:
        starts, ends = node.ints("starts"), node.ints("ends")
        return starts, ends, node.ints("axes", range(len(starts))), (1,) * len(starts)
    starts, ends = node.known_ints(1, "starts"), node.known_ints(2, "ends")
    axes = (
        node.known_ints(3, "axes") if node.optional(3) is not None else tuple(range(min(len(starts), rank)))
    )
    steps = node.known_ints(4, "steps") if node.optional(4) is not None else (1,) * len(starts)
    return starts, ends, axes, steps


def gather(node: Node) -> Value:
    x, indices = node.input(0), node.input(1)
    axis = normalize_axis(node.integer("axis", 0), x.type.rank)
    known, extent = constant_of(indices), x.type.shape[axis]
    if known is not None and known.size and not (-extent <= known.min() and known.max() < extent):
        raise NodeError(f"an index is outside axis {axis} of extent {extent}")
    return node.emit("gather", [x, indices], axis=axis)


PAD_MODES = ("constant", "reflect", "edge", "wrap")


def pad(node: Node) -> Value:
    x, mode = node.input(0), node.choice("mode", "constant", PAD_MODES)
    if node.opset < 11:
        return node.emit("pad", [x], pads=node.ints("pads"), mode=mode, value=node.number("value", 0.0))
    given, rank = node.known_ints(1, "pads"), x.type.rank
    axes = node.known_ints(3, "axes") if node.optional(3) is not None else tuple(range(rank))
    return node.emit("pad", [x], pads=_all_pads(given, axes, rank), mode=mode, value=_pad_value(node))


def _all_pads(given: Sequence[int], axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """`given` for `axes` spread over all axes."""
    if len(given) != 2 * len(axes):
        raise NodeError(f"pads {tuple(given)} do not fit {len(axes)} axes")
    pads = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        at = normalize_axis(axis, rank)
        pads[at], pads[rank + at] = given[i], given[len(axes) + i]
    return tuple(pads)


def _pad_value(node: Node) -> float:
    if node.optional(2) is None:
        return 0.0
    value = node.known(2, "constant_value")
    if value.size != 1:
        raise NodeError(f"constant_value has shape {extents(value.shape)}, a scalar is needed")
    if np.issubdtype(value.dtype, np.integer) and int(value.reshape(())) != int(float(value.reshape(()))):
        raise NodeError(f"constant_value {value.reshape(())} is not exact in float64")
    return float(value.reshape(()))


def depth_to_space(node: Node) -> Value:
    mode = node.choice("mode", "DCR", ("DCR", "CRD"))
    return node.emit("depth_to_space", [node.input(0)], block=node.integer("blocksize"), mode=mode)


def space_to_depth(node: Node) -> Value:
    mode = node.choice("mode", "DCR", ("DCR", "CRD"))
    return node.emit("space_to_depth", [node.input(0)], block=node.integer("blocksize"), mode=mode)


HANDLERS: dict[str, Handler] = {
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Concat": concat,
    "Expand": expand,
    "Tile": tile,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
