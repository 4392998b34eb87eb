"""Transposes meet and cancel through the operators that stand between them."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.interpreter import run
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType
from secateur.ir.verifier import verify
from secateur.passes.canonicalize.axes import is_elementwise
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.canonicalize.transposes import APART, START

LAST, SECOND = (0, 2, 3, 1), (0, 3, 1, 2)
WINDOW = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}
POOL = {"kernel": (3, 3), **WINDOW, "pads": (1,) * 4}


class Net:
    """A graph under construction; convolutions between transposes, as frameworks with channels last write."""

    def __init__(self, shape: tuple[int, ...] = (1, 6, 6, 4), dtype: DType = DType.F32) -> None:
        self.graph = Graph()
        self.random = np.random.default_rng(0)
        self.x = self.graph.add_input(TensorType(shape, dtype), "x")

    def op(self, name: str, *operands: Value, **attributes: Any) -> Value:
        return self.graph.append(create(name, operands, attributes)).result

    def constant(self, *shape: int) -> Value:
        return self.op("nn.constant", value=self.random.standard_normal(shape).astype(np.float32))

    def turn(self, x: Value, perm: tuple[int, ...]) -> Value:
        return self.op("nn.transpose", x, perm=perm)

    def conv(self, x: Value, filters: int, size: int = 3) -> Value:
        """A convolution of N x H x W x C."""
        w = self.constant(filters, x.type.shape[3], size, size)
        window = {"strides": (1, 1), "pads": (size // 2,) * 4, "dilations": (1, 1)}
        return self.turn(self.op("nn.conv", self.turn(x, SECOND), w, **window), LAST)

    def settle(self, *outputs: Value) -> tuple[int, Graph]:
        """How many transposes are left, in a graph of which the answers are the same."""
        self.graph.set_outputs(outputs, [f"y{i}" for i in range(len(outputs))])
        return settled(self.graph)


def settled(graph: Graph) -> tuple[int, Graph]:
    given_ = {
        v.name: np.random.default_rng(1).standard_normal(v.type.shape).astype(np.float32)
        for v in graph.inputs
    }
    before = run(graph, given_)
    after = Canonicalize().run(graph)
    verify(after)
    for name, wanted in before.items():
        np.testing.assert_allclose(run(after, given_)[name], wanted, rtol=1e-4, atol=1e-4)
    return sum(op.name == "nn.transpose" for op in after.operators), after


def test_residual_blocks_with_channels_last_have_a_transpose_at_each_edge() -> None:
    net = Net()
    x = net.op("nn.relu", net.op("nn.add", net.conv(net.x, 8), net.constant(8)))
    for _ in range(3):
        y = net.op("nn.mul", net.conv(x, 8), net.constant(1, 1, 1, 8))
        x = net.op("nn.relu", net.op("nn.add", net.conv(net.op("nn.relu", y), 8), x))
    assert net.settle(x)[0] == 2


def test_squeeze_and_excite_joins_and_means_are_followed() -> None:
    net = Net()
    x = net.op("nn.hard_swish", net.conv(net.x, 8))
    mean = net.op("nn.reduce_mean", x, axes=(1, 2), keepdims=True)
    gate = net.op("nn.sigmoid", net.conv(net.op("nn.relu", net.conv(mean, 4, 1)), 8, 1))
    x = net.op("nn.mul", x, gate)
    x = net.op("nn.concat", net.conv(x, 3), net.op("nn.pad", net.conv(x, 5), pads=(0,) * 8), x, axis=-1)
    x = net.op("nn.pad", x, pads=(0, 1, 2, 0, 0, 0, 1, 0))
    x = net.op("nn.slice", x, starts=(0, 1, 0, 2), sizes=(1, 5, 9, 12), steps=(1, 1, 1, 1))
    x = net.op("nn.resize", x, shape=(1, 10, 18, 12), scales=(1.0, 2.0, 2.0, 1.0), mode="linear")
    x = net.op("nn.reduce_mean", net.conv(x, 7), axes=(1, 2), keepdims=False)
    left, graph = net.settle(x)
    assert left == 1
    assert next(op.name for op in graph.operators if op.operands) == "nn.transpose"
    assert not any(op.name == "nn.reshape" for op in graph.operators), "single pixels have the order too"


def test_softmax_over_channels_is_followed_where_a_convolution_reads_it() -> None:
    net = Net()
    x = net.op("nn.softmax", net.conv(net.x, 5), axis=-1)
    left, graph = net.settle(net.conv(x, 3))
    assert left == 2
    assert [op["axis"] for op in graph.operators if op.name == "nn.softmax"] == [1]


def test_scales_along_an_axis_stay_where_they_are() -> None:
    net = Net((1, 4, 6, 6))
    scales = {"scales": (0.1, 0.2, 0.3, 0.4), "zero_points": (0,) * 4, "axis": 3}
    x = net.op("q.quantize", net.turn(net.x, LAST), dtype=DType.I8, **scales)
    assert net.settle(net.turn(net.op("q.dequantize", x), SECOND))[0] == 2


def test_one_scale_for_the_tensor_is_followed() -> None:
    net = Net((1, 4, 6, 6))
    x = net.op("q.quantize", net.turn(net.x, LAST), dtype=DType.U8, scales=(0.1,), zero_points=(9,))
    assert net.settle(net.turn(net.op("q.dequantize", x), SECOND))[0] == 0


def test_operators_stay_where_they_were_moved_beside_constants_kept_as_integers() -> None:
    net = Net((1, 4, 6, 6))
    x = net.op("nn.abs", net.op("nn.relu", net.turn(net.x, LAST)))
    stored = net.op("q.quantize", net.constant(1, 6, 6, 4), dtype=DType.U8, scales=(0.1,), zero_points=(9,))
    x = net.op("nn.abs", net.op("nn.neg", net.op("nn.add", x, net.op("q.dequantize", stored))))
    x = net.op("q.quantize", net.turn(x, SECOND), dtype=DType.U8, scales=(0.1,), zero_points=(9,))
    _, graph = net.settle(net.op("q.dequantize", x))
    assert graph.operators[-1].result.type.shape == (1, 4, 6, 6)
    assert not any(u.name == "nn.transpose" for u in graph.inputs[0].users)


def test_what_is_read_in_both_orders_is_transposed_once() -> None:
    net = Net((1, 4, 6, 6))
    x = net.op("nn.relu", net.turn(net.x, LAST))
    assert net.settle(x, net.turn(net.op("nn.exp", x), SECOND))[0] == 1


def test_a_transpose_that_would_only_move_stays() -> None:
    net = Net((1, 4, 6, 6))
    left, graph = net.settle(net.op("nn.relu", net.turn(net.x, LAST)))
    assert left == 1
    assert graph.operators[0].name == "nn.transpose"


KINDS = (
    "turn",
    "turn",
    "turn",
    "unary",
    "unary",
    "conv",
    "binary",
    "low",
    "concat",
    "mean",
    "dropped",
    "pad",
)


def step(draw: st.DrawFn, net: Net, x: Value, others: list[Value]) -> Value:
    """One operator on `x`, of which the result may be of a lower rank."""
    kind, axis = draw(st.sampled_from(KINDS)), draw(st.integers(0, 3))
    if kind == "turn":
        return net.turn(x, draw(st.sampled_from([LAST, SECOND, (0, 1, 3, 2), (3, 2, 1, 0)])))
    if kind == "conv":
        return net.op("nn.conv", x, net.constant(x.type.shape[1], x.type.shape[1], 1, 1), **WINDOW)
    if kind == "binary":
        return net.op("nn.add", x, draw(st.sampled_from([v for v in others if v.type == x.type])))
    if kind == "low":
        low = net.op("nn.reduce_max", x, axes=tuple(range(axis)), keepdims=not axis)
        return net.op("nn.sub", net.constant(*x.type.shape), low)
    if kind == "concat" and x.type.elements < 1000:
        return net.op("nn.concat", x, net.constant(*x.type.shape), x, axis=axis)
    if kind in ("mean", "dropped"):
        return net.op("nn.reduce_mean", x, axes=(axis,), keepdims=kind == "mean")
    if kind == "pad":
        return net.op("nn.pad", x, pads=tuple(int(i == axis) for i in range(8)), value=1.0)
    return net.op(draw(st.sampled_from(["nn.relu", "nn.neg"])), x)


def test_what_fuses_with_a_convolution_comes_before_the_transpose() -> None:
    net = Net((1, 4, 6, 6))
    x = net.op("nn.conv", net.x, net.constant(5, 4, 1, 1), **WINDOW)
    left, graph = net.settle(net.op("nn.sigmoid", net.op("nn.add", net.turn(x, LAST), net.constant(5))))
    assert left == 1
    assert graph.operators[-1].name == "nn.transpose"


def test_sums_that_fuse_stay_together() -> None:
    """Of three operands two are transposed; transposing their sum instead would part it from the third."""
    net, turned = Net((1, 6, 6, 6)), (0, 3, 2, 1)
    a, b = net.op("nn.conv", net.x, net.constant(6, 6, 1, 1), **WINDOW), net.op("nn.max_pool", net.x, **POOL)
    x = net.op("nn.add", net.turn(b, turned), net.turn(net.op("nn.max_pool", b, **POOL), turned))
    assert net.settle(net.op("nn.add", x, a))[0] == 2


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Operators in any order of axes, and transposes anywhere between them."""
    net = Net((1, 3, 4, 5))
    values, results = [net.x], []
    for _ in range(draw(st.integers(2, 14))):
        result = step(draw, net, draw(st.sampled_from(values[-4:])), values)
        results.append(result)
        values += [result] * (result.type.rank == 4)
    outputs = draw(st.lists(st.sampled_from(results[-4:]), min_size=1, max_size=2, unique=True))
    net.graph.set_outputs(outputs, [f"y{i}" for i in range(len(outputs))])
    return net.graph


def moved(graph: Graph) -> int:
    """What transposes take: elements, what each starts in, and what is not fused for it."""
    return sum(taken(op) for op in graph.operators if op.name == "nn.transpose")


def taken(op: Operator) -> int:
    apart = op.operands[0].producer is not None and op.operands[0].producer.name == "nn.conv"
    apart = apart and any(is_elementwise(user) for user in op.result.users)
    return (op.result.type.elements + START) * (1 + APART * apart)


@settings(max_examples=60)
@given(networks())
def test_random_networks_keep_their_answers_and_transpose_no_more(graph: Graph) -> None:
    with patch("secateur.passes.canonicalize.canonicalize.move_transposes", lambda _graph: 0):
        before = moved(Canonicalize().run(graph.clone()))
    assert moved(settled(graph)[1]) <= before


@pytest.mark.parametrize("perm", [LAST, SECOND])
def test_lower_ranks_get_their_axes_in_front(perm: tuple[int, ...]) -> None:
    net = Net((2, 4, 6, 6))
    low = net.op("nn.reduce_sum", net.x, axes=(0, 1), keepdims=False)
    x = net.op(
        "nn.mul", net.turn(net.x, perm), net.op("nn.slice", low, starts=(0, 0), sizes=(1, 1), steps=(1, 1))
    )
    assert net.settle(net.turn(x, SECOND if perm == LAST else LAST))[0] == 0
