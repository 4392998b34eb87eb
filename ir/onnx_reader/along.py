"""What looks along an axis: largest elements, running sums, triangles, one-hot codes, reversed sequences."""

from __future__ import annotations

import numpy as np

from ..graph import Value, constant_of
from ..ops.rules import normalize_axis
from ..types import DType, extents
from .cuts import reason_of
from .elementwise import cast_to
from .indexed import gathered_elements
from .node import Handler, Node, NodeError, UnsupportedError


def _number(node: Node, index: int, what: str) -> int:
    """The only element of a known input of integers."""
    found = node.known_ints(index, what)
    if len(found) != 1:
        raise NodeError(f"{what} (input {index}) has {len(found)} elements, one is needed")
    return found[0]


def top_k(node: Node) -> list[Value]:
    """The elements, taken by their indices; they are in order whether that is asked for or not."""
    x, axis = node.input(0), node.integer("axis", -1)
    k = node.integer("k") if node.opset < 10 else _number(node, 1, "k")
    indices = node.emit("top_k", [x], k=k, axis=axis, largest=node.flag("largest", True))
    return [gathered_elements(node, x, indices, axis), indices]


def cum_sum(node: Node) -> Value:
    axis = _number(node, 1, "axis")
    how = {"exclusive": node.flag("exclusive"), "reverse": node.flag("reverse")}
    return node.emit("cumsum", [node.input(0)], axis=axis, **how)


def trilu(node: Node) -> Value:
    """What is not in the triangle becomes 0."""
    x = node.input(0)
    if x.type.rank < 2:
        raise NodeError(f"input {extents(x.type.shape)} is no matrix")
    upper, k = node.flag("upper", True), 0 if node.optional(1) is None else _number(node, 1, "k")
    rows, columns = x.type.shape[-2:]
    past = np.arange(columns) - np.arange(rows)[:, None]  # how far right of the diagonal
    kept = past >= k if upper else past <= k
    return node.emit("where", [node.constant(kept), x, node.constant(np.zeros((), x.type.dtype.numpy))])


def one_hot(node: Node) -> Value:
    """Indices from -depth to depth - 1 count; of others the code has no one."""
    indices, values = cast_to(node, node.input(0), DType.I64), node.input(2)
    depth_of = node.known(1, "depth").reshape(-1)
    if depth_of.size != 1 or values.type.shape != (2,):
        raise NodeError(f"depth has {depth_of.size} elements, values are {extents(values.type.shape)}")
    depth, axis = int(depth_of[0]), normalize_axis(node.integer("axis", -1), indices.type.rank + 1)
    places = np.arange(depth).reshape(*[1] * axis, depth, *[1] * (indices.type.rank - axis))
    negative = node.emit("less", [indices, node.constant(np.array(0))])
    counted = node.emit(
        "where", [negative, node.emit("add", [indices, node.constant(np.array(depth))]), indices]
    )
    hot = node.emit("equal", [node.with_axis(counted, axis), node.constant(places)])
    off, on = (
        node.emit("reshape", [node.emit("slice", [values], starts=(i,), sizes=(1,), steps=(1,))], shape=())
        for i in (0, 1)
    )
    return node.emit("where", [hot, on, off])


def reverse_sequence(node: Node) -> Value:
    """Of each sequence of the batch its first elements, as many as is known, backwards."""
    x, time = node.input(0), node.integer("time_axis", 0)
    batch = node.integer("batch_axis", 1)
    lengths = constant_of(node.input(1))
    if lengths is None:
        raise UnsupportedError(reason_of(node.proto))
    if {time, batch} != {0, 1} or x.type.rank < 2 or lengths.shape != (x.type.shape[batch],):
        raise NodeError(f"lengths {extents(lengths.shape)} do not fit {extents(x.type.shape)}")
    steps, each = np.arange(x.type.shape[time])[:, None], lengths.astype(np.int64)
    if ((each < 0) | (each > len(steps))).any():
        raise NodeError(f"a length is not within 0 to {len(steps)}")
    sources = np.where(steps < each, each - 1 - steps, steps) * (x.type.shape[1] if time == 0 else 1)
    sources = sources + np.arange(len(each)) * (1 if time == 0 else x.type.shape[1])
    rows = node.emit("reshape", [x], shape=(sources.size, *x.type.shape[2:]))
    picked = node.constant(sources if time == 0 else sources.T)
    return node.emit("gather", [rows, picked], axis=0)


HANDLERS: dict[str, Handler] = {
    "CumSum": cum_sum,
    "OneHot": one_hot,
    "ReverseSequence": reverse_sequence,
    "TopK": top_k,
    "Trilu": trilu,
}
