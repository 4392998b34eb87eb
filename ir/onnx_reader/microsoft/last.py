"""Operators whose channels are the last axis: ONNX Runtime's fast layout for 8 bits."""

from __future__ import annotations

from dataclasses import replace

from ...graph import Value
from ..node import Handler, Node, NodeError
from ..quantized import HANDLERS as QUANTIZED
from ..quantized import MICROSOFT
from ..resize import HANDLERS as RESIZE
from ..windows import max_pool


def _first(node: Node, x: Value) -> Value:
    """`x` with its last axis behind the first."""
    rank = x.type.rank
    if rank < 3:
        raise NodeError(f"an input of {rank} axes has no channels behind spatial axes")
    return node.emit("transpose", [x], perm=(0, rank - 1, *range(1, rank - 1)))


def _last(node: Node, y: Value) -> Value:
    return node.emit("transpose", [y], perm=(0, *range(2, y.type.rank), 1))


def _largest(node: Node) -> Value:
    return max_pool(node)[0]


def of_last(handler: Handler) -> Handler:
    """`handler`, which has channels second, between exchanges of axes."""

    def turned(node: Node) -> Value:
        made = handler(replace(node, inputs=[_first(node, node.input(0)), *node.inputs[1:]]))
        assert isinstance(made, Value)
        return _last(node, made)

    return turned


def _either(handler: Handler) -> Handler:
    """By the attribute `channels_last`."""
    return lambda node: (of_last(handler) if node.flag("channels_last") else handler)(node)


HANDLERS: dict[str, Handler] = {
    **MICROSOFT,
    "GridSample": RESIZE["GridSample"],
    "NhwcMaxPool": of_last(_largest),
    "QLinearConv": _either(QUANTIZED["QLinearConv"]),
    "QLinearAveragePool": _either(MICROSOFT["QLinearAveragePool"]),
    "QLinearGlobalAveragePool": _either(MICROSOFT["QLinearGlobalAveragePool"]),
}
