"""Reductions, ArgMax and ArgMin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Value
from ..ops.rules import normalize_axis
from ..types import DType
from .cuts import reason_of
from .elementwise import cast_to, largest_number
from .node import Handler, Node, NodeError, UnsupportedError


def reduction_axes(node: Node, x: Value, as_input: int) -> tuple[int, ...]:
    """Axes from the attribute, or since opset `as_input` from input 1; none means all, unless told."""
    if node.opset < as_input:
        axes = node.ints("axes", ())
    else:
        axes = node.known_ints(1, "axes") if node.optional(1) is not None else ()
    if axes or node.flag("noop_with_empty_axes"):
        return axes
    return tuple(range(x.type.rank))


def _reduction(name: str, as_input: int) -> Handler:
    def handler(node: Node) -> Value:
        x = node.input(0)
        axes = reduction_axes(node, x, as_input)
        return (
            node.emit(name, [x], axes=axes, keepdims=node.flag("keepdims", True))
            if axes or not x.type.rank
            else x
        )

    return handler


def _reduced(node: Node, name: str, x: Value) -> Value:
    """A reduction of a function of the elements, which over no axes is still that function."""
    return node.emit(name, [x], axes=reduction_axes(node, x, 18), keepdims=node.flag("keepdims", True))


def _composite(name: str) -> Handler:
    return lambda node: _reduced(node, name, node.input(0))


def _through_floats(reduced: Callable[[Node, Value], Value]) -> Handler:
    """Integers are reduced as float64 and truncated."""

    def handler(node: Node) -> Value:
        x = node.input(0)
        wide = x if x.type.dtype.is_float else cast_to(node, x, DType.F64)
        return cast_to(node, reduced(node, wide), x.type.dtype)

    return handler


def _log_sum_exp(node: Node, x: Value) -> Value:
    """log sum e^(x - m) + m, where m is the largest x, limited to numbers: infinities come out of the sum."""
    axes, keep = reduction_axes(node, x, 18), node.flag("keepdims", True)
    most = largest_number(x.type.dtype)
    largest = node.emit("reduce_max", [x], axes=axes, keepdims=True)
    shift = node.emit("clip", [largest], min=-most, max=most)
    powers = node.emit("exp", [node.emit("sub", [x, shift])])
    summed = node.emit("reduce_log_sum", [powers], axes=axes, keepdims=keep)
    return node.emit("add", [summed, node.emit("reshape", [shift], shape=summed.type.shape)])


def lp_normalization(node: Node) -> Value:
    """x over its norm along the axis; 0 where all of it is 0."""
    x, axis, kind = node.input(0), node.integer("axis", -1), _norm(node)
    norm = node.emit(kind, [x], axes=(normalize_axis(axis, x.type.rank),), keepdims=True)
    zero, one = (node.constant(np.array(v, x.type.dtype.numpy)) for v in (0, 1))
    return node.emit("div", [x, node.emit("where", [node.emit("equal", [norm, zero]), one, norm])])


def global_lp_pool(node: Node) -> Value:
    x, axes = node.input(0), tuple(range(2, node.input(0).type.rank))
    if node.integer("p", 2) in (1, 2):
        return node.emit(_norm(node), [x], axes=axes, keepdims=True)
    return norm_of(node, x, lambda powers: node.emit("reduce_sum", [powers], axes=axes, keepdims=True))


def norm_of(node: Node, x: Value, total: Callable[[Value], Value]) -> Value:
    """The p-th root of `total` of the p-th powers of magnitudes, p being the attribute of that name."""
    p = node.integer("p", 2)
    if p < 1:
        raise NodeError(f"a norm of order {p}")
    size = node.emit("abs", [x])
    if p == 1:
        return total(size)
    if p == 2:
        return node.emit("sqrt", [total(node.emit("mul", [size, size]))])
    power, root = (node.constant(np.array(v, x.type.dtype.numpy)) for v in (p, 1 / p))
    return node.emit("pow", [total(node.emit("pow", [size, power])), root])


def _norm(node: Node) -> str:
    p = node.integer("p", 2)
    if p not in (1, 2):
        raise NodeError(f"a norm of order {p} is not supported; known: 1, 2")
    return f"reduce_l{p}"


def argmax(node: Node) -> Value:
    axis, last = node.integer("axis", 0), node.flag("select_last_index")
    return node.emit(
        "argmax", [node.input(0)], axis=axis, keepdims=node.flag("keepdims", True), select_last=last
    )


def argmin(node: Node) -> Value:
    """The place of the largest of what is negated; the least integer has no negative, so floats alone."""
    x, axis, last = node.input(0), node.integer("axis", 0), node.flag("select_last_index")
    if not x.type.dtype.is_float:
        raise UnsupportedError(f"of {x.type.dtype.value}, {reason_of(node.proto)}")
    negative = node.emit("neg", [x])
    return node.emit("argmax", [negative], axis=axis, keepdims=node.flag("keepdims", True), select_last=last)


HANDLERS: dict[str, Handler] = {
    "ReduceSum": _reduction("reduce_sum", 13),
    "ReduceMean": _reduction("reduce_mean", 18),
    "ReduceMax": _reduction("reduce_max", 18),
    "ReduceMin": _reduction("reduce_min", 18),
    "ReduceProd": _reduction("reduce_prod", 18),
    "ReduceL1": _composite("reduce_l1"),
    "ReduceSumSquare": _composite("reduce_sum_square"),
    "ReduceL2": _through_floats(lambda node, x: _reduced(node, "reduce_l2", x)),
    "ReduceLogSum": _through_floats(lambda node, x: _reduced(node, "reduce_log_sum", x)),
    "ReduceLogSumExp": _through_floats(_log_sum_exp),
    "LpNormalization": lp_normalization,
    "GlobalLpPool": global_lp_pool,
    "ArgMax": argmax,
    "ArgMin": argmin,
}
