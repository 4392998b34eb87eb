"""Reductions and ArgMax."""

from __future__ import annotations

from ..graph import Value
from .node import Handler, Node


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


def argmax(node: Node) -> Value:
    axis, last = node.integer("axis", 0), node.flag("select_last_index")
    return node.emit(
        "argmax", [node.input(0)], axis=axis, keepdims=node.flag("keepdims", True), select_last=last
    )


HANDLERS: dict[str, Handler] = {
    "ReduceSum": _reduction("reduce_sum", 13),
    "ReduceMean": _reduction("reduce_mean", 18),
    "ReduceMax": _reduction("reduce_max", 18),
    "ReduceMin": _reduction("reduce_min", 18),
    "ArgMax": argmax,
}
