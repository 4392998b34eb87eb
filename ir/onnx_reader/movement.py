"""Operators that only change shapes or move data."""

from __future__ import annotations

import math

from ..graph import Value
from ..ops.rules import normalize_axis
from .node import Handler, Node


def flatten(node: Node) -> Value:
    x = node.input(0)
    axis = node.int("axis", 1)
    axis = axis if axis == x.type.rank else normalize_axis(axis, x.type.rank)
    return node.emit("reshape", [x], shape=(math.prod(x.type.shape[:axis]), math.prod(x.type.shape[axis:])))


HANDLERS: dict[str, Handler] = {"Flatten": flatten}
