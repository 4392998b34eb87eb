"""Graphs of hundreds or thousands of operators: wide, long, dense, and at random with fan-out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

SHAPE = (1, 4, 6, 6)


def model_of(nodes: Sequence[NodeProto], output: str, weights: Sequence[TensorProto] = ()) -> ModelProto:
    """The model from `x` of `SHAPE` to `output`, whose shape is left to the reader."""
    graph = helper.make_graph(
        list(nodes),
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        list(weights),
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _scaled(count: int) -> tuple[list[NodeProto], list[TensorProto]]:
    """`p0`, `p1`, ...: the input times different constants."""
    nodes = [helper.make_node("Mul", ["x", f"c{i}"], [f"p{i}"]) for i in range(count)]
    weights = [
        numpy_helper.from_array(np.array([i / count - 0.3], np.float32), f"c{i}") for i in range(count)
    ]
    return nodes, weights


def _parts(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


def scaled_concat(count: int) -> ModelProto:
    """The concatenation of `count` multiples of the input, along channels."""
    nodes, weights = _scaled(count)
    return model_of([*nodes, helper.make_node("Concat", _parts(count), ["y"], axis=1)], "y", weights)


def scaled_sum(count: int) -> ModelProto:
    """The sum, by one operator, of `count` multiples of the input."""
    nodes, weights = _scaled(count)
    return model_of([*nodes, helper.make_node("Sum", _parts(count), ["y"])], "y", weights)


def image_concat(count: int) -> ModelProto:
    """The concatenation of `count` copies of the negated input, along images."""
    nodes = [helper.make_node("Neg", ["x"], [name]) for name in _parts(count)]
    return model_of([*nodes, helper.make_node("Concat", _parts(count), ["y"], axis=0)], "y")


def chain(length: int, reach: int = 0) -> ModelProto:
    """Tanh and addition in turn, of the input or, with `reach`, of the value so many steps back."""
    nodes, names = [], ["x"]
    for i in range(length):
        back = names[-1 - reach] if reach and i >= reach else "x"
        operands = [names[-1], back] if i % 2 else [names[-1]]
        nodes.append(helper.make_node("Add" if i % 2 else "Tanh", operands, [f"v{i}"]))
        names.append(f"v{i}")
    return model_of(nodes, names[-1])


_GROWTH = 4  # channels that a layer of `dense_block` adds


def dense_block(layers: int) -> ModelProto:
    """A DenseNet's block in which every layer concatenates all outputs before it at once."""
    generator = np.random.default_rng(1)
    nodes, weights, parts, channels = [], [], ["x"], SHAPE[1]
    for i in range(layers):
        array = generator.standard_normal((_GROWTH, channels, 3, 3)).astype(np.float32) / channels
        weights.append(numpy_helper.from_array(array, f"w{i}"))
        nodes.append(helper.make_node("Concat", parts, [f"joined{i}"], axis=1))
        nodes.append(helper.make_node("Relu", [f"joined{i}"], [f"relu{i}"]))
        nodes.append(helper.make_node("Conv", [f"relu{i}", f"w{i}"], [f"conv{i}"], pads=[1, 1, 1, 1]))
        parts, channels = [*parts, f"conv{i}"], channels + _GROWTH
    nodes.append(helper.make_node("Concat", parts, ["y"], axis=1))
    return model_of(nodes, "y", weights)


# At random -----------------------------------------------------------------------------------------

_UNARY = ("Relu", "Tanh", "Neg", "Abs", "Sigmoid", "HardSwish", "Softplus")
_BINARY = ("Add", "Sub", "Mul", "Max", "Min")


def fan_out(seed: int, count: int) -> ModelProto:
    """About `count` operators on tensors of one shape, each reading any few values before it.

    Half of the reads are of the last few values, the rest of any; what nobody read is joined at the end.
    """
    return _FanOut(Random(seed), count).model()


class _FanOut:
    def __init__(self, random: Random, count: int) -> None:
        self.random, self.count = random, count
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.names, self.unread = ["x"], {"x"}

    def model(self) -> ModelProto:
        while len(self.nodes) < self.count:
            self._kind()()
        self._add("Concat", sorted(self.unread), axis=1)
        return model_of(self.nodes, self.names[-1], self.weights)

    def _kind(self) -> Callable[[], None]:
        kinds = (self._unary, self._binary, self._sum, self._conv, self._joined, self._pool)
        return self.random.choices(kinds, (8, 8, 1, 3, 1, 1))[0]

    def _read(self) -> str:
        return self.random.choice(self.names[-4:] if self.random.random() < 0.5 else self.names)

    def _add(self, operator: str, operands: list[str], **attributes: Any) -> str:
        self.unread -= set(operands)
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, operands, [name], **attributes))
        self.names.append(name)
        self.unread.add(name)
        return name

    def _weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        generator = np.random.default_rng(len(self.weights))
        array = generator.standard_normal(shape).astype(np.float32) / max(1, int(np.prod(shape[1:])))
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def _unary(self) -> None:
        self._add(self.random.choice(_UNARY), [self._read()])

    def _binary(self) -> None:
        second = self._weight(*self.random.choice(((1,), (1, 4, 1, 1)))) if self.random.random() < 0.3 else ""
        self._add(self.random.choice(_BINARY), [self._read(), second or self._read()])

    def _sum(self) -> None:
        self._add("Mean", [self._read() for _ in range(self.random.choice((2, 3, 8, 70)))])

    def _conv(self, joined: str = "", channels: int = 4) -> None:
        size = self.random.choice((1, 3))
        weight = self._weight(4, channels, size, size)
        self._add("Conv", [joined or self._read(), weight], pads=[size // 2] * 4)

    def _joined(self) -> None:
        """A wide concatenation, and a convolution back to the channels that all others have."""
        count = self.random.choice((2, 3, 8, 70))
        joined = self._add("Concat", [self._read() for _ in range(count)], axis=1)
        self._conv(joined, 4 * count)
        self.names.remove(joined)

    def _pool(self) -> None:
        self._add("MaxPool", [self._read()], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
