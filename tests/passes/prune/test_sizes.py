"""Operators at other extents: the types are those of the real operator, and nothing large is allocated."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType
from secateur.passes.prune.candidates import edges, grain, thinned
from secateur.passes.prune.sizes import (
    SizedCosts,
    UnsizedError,
    at_counts,
    channels_of,
    filters_of,
    is_depthwise,
    is_layer,
    sized,
)

COSTS = AnalyticCosts(find("rpi4"))


def constant(*shape: int) -> Value:
    return create("nn.constant", [], {"value": np.ones(shape, np.float32)}).result


def conv(channels: int, filters: int, kernel: int = 3, groups: int = 1, residual: bool = False) -> Operator:
    """A convolution on 14x14 with bias, a residual where wanted, and ReLU."""
    operands = [
        Value(TensorType((1, channels, 14, 14))),
        constant(filters, channels // groups, kernel, kernel),
    ]
    operands.append(constant(filters, 1, 1))
    steps = [Step("add")]
    if residual:
        operands.append(Value(TensorType((1, filters, 14, 14))))
        steps.append(Step("add"))
    half = kernel // 2
    attributes = {
        "strides": (1, 1), "pads": (half,) * 4, "dilations": (1, 1), "groups": groups,
        "epilogue": (*steps, Step("relu")),
    }  # fmt: skip
    return create("nn.conv", operands, attributes, "conv")


def matmul(inputs: int, outputs: int) -> Operator:
    operands = [Value(TensorType((1, inputs))), constant(inputs, outputs), constant(outputs)]
    return create("nn.matmul", operands, {"epilogue": (Step("add"),)}, "fc")


def transposed(channels: int, filters: int) -> Operator:
    operands = [Value(TensorType((1, channels, 7, 7))), constant(channels, filters, 2, 2)]
    attributes = {"strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1), "output_padding": (0, 0)}
    return create("nn.conv_transpose", operands, attributes, "up")


def types(op: Operator) -> list[TensorType]:
    return [v.type for v in (*op.operands, *op.results)]


@pytest.mark.parametrize(
    ("whole", "counts", "small"),
    [
        (conv(64, 96), {"filters": 41}, conv(64, 41)),
        (conv(64, 96), {"channels": 7}, conv(7, 96)),
        (conv(64, 96, residual=True), {"channels": 7, "filters": 5}, conv(7, 5, residual=True)),
        (conv(64, 64, groups=64), {"filters": 9}, conv(9, 9, groups=9)),
        (conv(64, 64, groups=64), {"channels": 9}, conv(9, 9, groups=9)),
        (conv(64, 96, groups=4), {"filters": 16}, conv(64, 16, groups=4)),
        (conv(64, 96, groups=4), {"channels": 8}, conv(8, 96, groups=4)),
        (matmul(128, 10), {"channels": 31}, matmul(31, 10)),
        (matmul(128, 10), {"filters": 3}, matmul(128, 3)),
        (transposed(32, 16), {"channels": 5, "filters": 3}, transposed(5, 3)),
    ],
)
def test_a_layer_at_other_counts_is_and_costs_what_the_smaller_layer_does(
    whole: Operator, counts: dict[str, int], small: Operator
) -> None:
    found = at_counts(whole, **counts)
    assert types(found) == types(small)
    assert found.attributes == small.attributes
    assert COSTS.choices(found) == COSTS.choices(small)
    assert whole.operands[0].type.shape[1] == channels_of(whole)


def test_constants_that_change_take_no_memory() -> None:
    found = at_counts(conv(64, 64), channels=60_000)
    weights = constant_of(found.operands[1])
    assert weights is not None
    assert weights.shape == (64, 60_000, 3, 3)
    assert not any(weights.strides)


def test_a_constant_that_keeps_its_shape_is_the_same() -> None:
    whole = conv(64, 64)
    assert at_counts(whole, channels=3).operands[2] is whole.operands[2]


def test_a_count_that_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(UnsizedError, match="conv"):
        at_counts(conv(64, 96, groups=4), filters=18)


def test_only_layers_are_layers() -> None:
    x = Value(TensorType((1, 8, 4, 4)))
    assert is_layer(conv(4, 4))
    assert is_layer(matmul(4, 4))
    assert not is_layer(create("nn.relu", [x]))
    assert not is_layer(create("nn.matmul", [Value(TensorType((2, 3))), Value(TensorType((3, 2)))]))
    assert is_depthwise(conv(8, 8, groups=8))
    assert not is_depthwise(conv(8, 8))
    assert filters_of(conv(8, 12)) == 12


def test_concat_and_reshape_follow_their_operands() -> None:
    parts = [Value(TensorType((1, n, 4, 4))) for n in (8, 16)]
    joined = create("nn.concat", parts, {"axis": 1})
    assert sized(joined, [(1, 3, 4, 4), (1, 16, 4, 4)]).result.type.shape == (1, 19, 4, 4)
    flat = create("nn.reshape", parts[:1], {"shape": (1, 128)})
    assert sized(flat, [(1, 3, 4, 4)], {"shape": (1, 48)}).result.type.shape == (1, 48)
    with pytest.raises(UnsizedError, match="reshape"):
        sized(flat, [(1, 3, 4, 4)])


def test_scales_along_an_axis_are_cut() -> None:
    x = Value(TensorType((1, 2, 4, 4), DType.U8, quant=Quant((0.5, 0.25), (1, 2), 1)))
    found = sized(create("nn.concat", [x, x], {"axis": 2}), [(1, 1, 4, 4), (1, 1, 4, 4)])
    assert found.operands[0].type.quant == Quant((0.5,), (1,), 1)


def test_operators_that_cost_the_same_are_asked_for_once() -> None:
    costs = SizedCosts(COSTS)
    first = costs.choices(conv(8, 8))
    assert costs.choices(conv(8, 8)) is first
    assert costs.asked == 1
    costs.choices(conv(8, 8, residual=True))
    costs.choices(at_counts(conv(8, 16), filters=8))
    assert costs.asked == 2


# Counts worth keeping ------------------------------------------------------------------------------


def test_edges_are_the_right_ends_of_steps() -> None:
    times = {n: float(-(-n // 4)) for n in range(1, 17)}
    assert edges(times) == [4, 8, 12, 16]


def test_a_count_that_a_larger_one_beats_is_no_edge() -> None:
    assert edges({4: 1.0, 8: 3.0, 12: 2.0, 16: 4.0}) == [4, 12, 16]


def test_what_saves_next_to_nothing_is_no_edge() -> None:
    assert edges({1: 0.5, 2: 0.995, 3: 1.0}) == [1, 3]


def test_thinned_edges_keep_the_largest_and_large_savings() -> None:
    times = {n: float(n) for n in range(1, 101)}
    kept = thinned(edges(times), times, 6)
    assert len(kept) <= 6
    assert kept[-1] == 100
    assert kept[0] <= 40
    assert thinned([2, 4], times, 6) == [2, 4]


def test_the_grain_is_the_largest_block_of_a_layout() -> None:
    assert grain(COSTS.choices(conv(64, 64))) == 4
    assert grain(COSTS.choices(matmul(64, 64))) == 1
