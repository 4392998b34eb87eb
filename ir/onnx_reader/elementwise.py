"""Element-wise operators."""

from __future__ import annotations

from ..graph import Value
from .node import Handler, Node


def _binary(name: str) -> Handler:
    return lambda node: node.emit(name, [node.input(0), node.input(1)])


def _unary(name: str) -> Handler:
    return lambda node: node.emit(name, [node.input(0)])


def _first(node: Node) -> Value:
    return node.input(0)


HANDLERS: dict[str, Handler] = {
    "Add": _binary("add"),
    "Relu": _unary("relu"),
    "Identity": _first,
}
