"""Small networks to prune, as graphs: residual, concatenated, depthwise, with a flattened end."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from secateur.ir.graph import Graph, Value
from secateur.ir.registry import create
from secateur.ir.types import TensorType


class Net:
    """A graph under construction; each method appends an operator and returns its value."""

    def __init__(self, seed: int, channels: int = 3, size: int = 12) -> None:
        self.graph, self.choose = Graph("net"), random.Random(seed)
        self.fill = np.random.default_rng(seed)
        self.x = self.graph.add_input(TensorType((1, channels, size, size)), "x")

    def constant(self, *shape: int) -> Value:
        return self.append("nn.constant", [], {"value": self.fill.standard_normal(shape).astype(np.float32)})

    def append(self, name: str, operands: Sequence[Value], attributes: dict[str, object]) -> Value:
        loc = "" if name == "nn.constant" else f"n{len(self.graph.operators)}"
        return self.graph.append(create(name, operands, attributes, loc)).result

    def conv(self, x: Value, filters: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> Value:
        channels, half = x.type.shape[1], kernel // 2
        attributes = {
            "strides": (stride, stride), "pads": (half,) * 4, "dilations": (1, 1), "groups": groups,
        }  # fmt: skip
        made = self.append(
            "nn.conv", [x, self.constant(filters, channels // groups, kernel, kernel)], attributes
        )
        return self.append("nn.add", [made, self.constant(1, filters, 1, 1)], {})

    def relu(self, x: Value) -> Value:
        return self.append("nn.relu", [x], {})

    def add(self, x: Value, y: Value) -> Value:
        return self.append("nn.add", [x, y], {})

    def mul(self, x: Value, y: Value) -> Value:
        return self.append("nn.mul", [x, y], {})

    def concat(self, *parts: Value) -> Value:
        return self.append("nn.concat", parts, {"axis": 1})

    def finished(self, x: Value, classes: int = 5) -> Graph:
        """Flattened and multiplied; the graph."""
        flat = self.append("nn.reshape", [x], {"shape": (1, x.type.elements)})
        y = self.append("nn.matmul", [flat, self.constant(x.type.elements, classes)], {})
        self.graph.set_outputs([y], ["y"])
        return self.graph


def residual(seed: int, width: int = 16, blocks: int = 2) -> Graph:
    """A stem, residual blocks, and a classifier on the flattened image."""
    net = Net(seed, size=6)
    x = net.relu(net.conv(net.x, width))
    for _ in range(blocks):
        inner = net.relu(net.conv(x, net.choose.choice((8, width, 24))))
        x = net.relu(net.add(net.conv(inner, width), x))
    return net.finished(x)


def inception(seed: int) -> Graph:
    """Branches that are concatenated, twice; the second reads all of the first."""
    net = Net(seed, size=6)
    x = net.relu(net.conv(net.x, 8))
    for _ in range(2):
        parts = [net.relu(net.conv(x, net.choose.choice((8, 16)), k)) for k in (1, 3, 1)]
        x = net.concat(*parts)
    return net.finished(net.relu(net.conv(x, 8, 1)))


def dense(seed: int, layers: int = 2) -> Graph:
    """Each layer reads everything before it."""
    net = Net(seed, size=6)
    parts = [net.relu(net.conv(net.x, 16))]
    for _ in range(layers):
        before = net.concat(*parts) if len(parts) > 1 else parts[0]
        parts.append(net.relu(net.conv(before, 16)))
    return net.finished(net.concat(*parts))


def cells(seed: int) -> Graph:
    """Parts of which two are tied by their sum, which is concatenated with one of them: it counts twice."""
    net = Net(seed, size=6)
    x = net.relu(net.conv(net.x, 8))
    for _ in range(2):
        a, b, c = (net.relu(net.conv(x, 8, k)) for k in (1, 3, 1))
        x = net.concat(a, net.add(a, b), c)
    return net.finished(net.relu(net.conv(x, 8, 1)))


def mobile(seed: int) -> Graph:
    """Expanded, filtered channel by channel, and narrowed; with a skip connection."""
    net = Net(seed)
    x = net.conv(net.x, 8, stride=2)
    wide = net.relu(net.conv(x, 32, 1))
    x = net.add(net.conv(net.relu(net.conv(wide, 32, groups=32)), 8, 1), x)
    return net.finished(net.relu(net.conv(x, 16, 1, 2)))


KINDS = {"residual": residual, "inception": inception, "dense": dense, "cells": cells, "mobile": mobile}
