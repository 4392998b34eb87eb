"""Canonicalization and fusion of random networks: every interplay of rules keeps the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.graph import Graph, Value
from secateur.ir.registry import create
from secateur.ir.types import TensorType
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.framework.manager import PassManager, operator_count
from secateur.passes.fuse.fuse import Fuse
from tests.passes.texts import structure

UNARY = ("relu", "sigmoid", "tanh", "hard_swish", "neg", "abs", "softplus")


class Network:
    """A graph under construction; every step draws its choices."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.graph = Graph()
        self.values = [self.graph.add_input(TensorType((1, 4, 6, 6)), "x")]
        self.random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def pick(self) -> Value:
        return self.draw(st.sampled_from(self.values[-3:]))

    def constant(self, *shape: int, positive: bool = False) -> Value:
        array = np.asarray(self.random.standard_normal(shape))
        array = np.abs(array) + 0.5 if positive else array
        if self.draw(st.integers(0, 5)) == 0:
            special = [0.5, 1.0, 2.0] if positive else [0.0, 1.0, 3.0]
            array = np.full(shape, self.draw(st.sampled_from(special)))
        return self.op("constant", [], keep=False, value=np.asarray(array, np.float32))

    def op(self, name: str, operands: list[Value], keep: bool = True, **attributes: Any) -> Value:
        value = self.graph.append(create(f"nn.{name}", operands, attributes)).result
        if keep:
            self.values.append(value)
        return value

    def conv(self, x: Value) -> None:
        kernel, pad = self.draw(st.sampled_from([(1, 0), (3, 1), (3, 0)]))
        groups = self.draw(st.sampled_from([1, x.type.shape[1]]))
        if min(x.type.shape[2:]) + 2 * pad >= kernel:
            w = self.constant(x.type.shape[1], x.type.shape[1] // groups, kernel, kernel)
            window: dict[str, Any] = {"strides": (1, 1), "pads": (pad,) * 4, "dilations": (1, 1)}
            self.op("conv", [x, w], groups=groups, **window)

    def batch_norm(self, x: Value) -> None:
        c = x.type.shape[1]
        parameters = [self.constant(c), self.constant(c), self.constant(c), self.constant(c, positive=True)]
        self.op("batch_norm", [x, *parameters])

    def arithmetic(self, x: Value) -> None:
        _, c, _, w = x.type.shape
        shape = self.draw(st.sampled_from([(), (c, 1, 1), (1, c, 1, 1), (1,), (w,)]))
        name = self.draw(st.sampled_from(["add", "mul", "sub", "div", "max", "min"]))
        constant = self.constant(*shape, positive=name == "div")
        swapped = name != "div" and self.draw(st.booleans())
        operands = [constant, x] if swapped else [x, constant]
        self.op(name, operands)

    def binary(self, x: Value) -> None:
        same = [v for v in self.values if v.type == x.type]
        name = self.draw(st.sampled_from(["add", "mul", "sub", "max"]))
        self.op(name, [x, self.draw(st.sampled_from(same))])

    def unary(self, x: Value) -> None:
        self.op(self.draw(st.sampled_from(UNARY)), [x])

    def clip(self, x: Value) -> None:
        low = self.draw(st.sampled_from([-1.0, 0.0]))
        width = self.draw(st.sampled_from([1.0, 6.0, float("inf")]))
        self.op("clip", [x], min=low, max=low + width)

    def pad(self, x: Value) -> None:
        around, right = (0, 0, 1, 1, 0, 0, 1, 1), (0, 0, 0, 0, 0, 0, 0, 1)
        amounts = self.draw(st.sampled_from([around, right, (0,) * 8]))
        self.op("pad", [x], pads=amounts, value=self.draw(st.sampled_from([0.0, 1.0, -float("inf")])))

    def pool(self, x: Value) -> None:
        name, size = self.draw(st.sampled_from([("max_pool", 2), ("average_pool", 1), ("average_pool", 2)]))
        if min(x.type.shape[2:]) >= size:
            window: dict[str, Any] = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}
            self.op(name, [x], kernel=(size, size), **window)

    def turn(self, x: Value) -> None:
        perm = self.draw(st.sampled_from([(0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 3, 2)]))
        self.op("transpose", [x], perm=perm)

    def steps(self) -> list[Callable[[Value], None]]:
        plain = [self.batch_norm, self.arithmetic, self.binary, self.unary, self.clip, self.turn]
        return [self.conv, self.conv, self.pad, self.pool, *plain]


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    network = Network(draw)
    for _ in range(draw(st.integers(3, 14))):
        draw(st.sampled_from(network.steps()))(network.pick())
    outputs = draw(st.lists(st.sampled_from(network.values[-3:]), min_size=1, max_size=2, unique=True))
    network.graph.set_outputs(outputs, [f"y{i}" for i in range(len(outputs))])
    return network.graph


@settings(max_examples=120)
@given(networks(), st.integers(0, 2**32 - 1))
def test_passes_keep_the_answers_of_random_networks(graph: Graph, seed: int) -> None:
    given = {"x": np.random.default_rng(seed).standard_normal((1, 4, 6, 6)).astype(np.float32)}
    outcome = PassManager((Canonicalize(), Fuse(), Canonicalize()), inputs=given).run(graph)
    assert operator_count(outcome.graph) <= operator_count(graph)


@settings(max_examples=40)
@given(networks())
def test_fusing_twice_changes_nothing(graph: Graph) -> None:
    once = PassManager((Canonicalize(), Fuse(), Canonicalize())).run(graph).graph
    again = PassManager((Fuse(), Canonicalize())).run(once).graph
    assert structure(again) == structure(once)
