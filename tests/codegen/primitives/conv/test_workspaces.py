"""Primitives that can do with less workspace: what they offer; every amount gives the right answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.primitives.conv.im2row.primitive import IM2ROW
from secateur.codegen.primitives.conv.plan import cheapest, even_split, largest_part, worth_offering
from secateur.codegen.primitives.conv.planned import costs_of
from secateur.codegen.primitives.conv.winograd.float32 import WINOGRAD
from secateur.codegen.primitives.conv.winograd.int8 import LinearWinograd
from secateur.codegen.primitives.operator import Cost
from secateur.codegen.primitives.specs import ConvSpec
from secateur.ir import interpreter
from secateur.ir.graph import Value
from secateur.ir.registry import create
from secateur.ir.types import TensorType

from ....sampled import sampled
from ...conv_harness import convolution_error, targets
from .test_conv_kernels import RELU, TOLERANCE, conv
from .test_linear_winograd import X86, compiled, layer

TARGET = targets()[0]
FEWER: dict[str, Any] = {IM2ROW.name: IM2ROW, **{p.name: p for p in WINOGRAD}}
SAME = conv(32, (40, 44), 48, 3, pads=(1, 1, 1, 1), bias=True, epilogue=RELU)


def laid_out(spec: ConvSpec) -> ConvSpec:
    blocked = f"NCHW{TARGET.lanes}c"
    return replace(spec, in_layout=blocked, out_layout=blocked)


def amounts_of(name: str, spec: ConvSpec) -> list[int]:
    """Bytes of workspace that are worth offering, most first."""
    return [cost.workspace for cost in worth_offering(FEWER[name].plans(spec, TARGET).values())]


@pytest.mark.parametrize("name", FEWER)
def test_amounts_fall_by_half_and_times_rise(name: str) -> None:
    costs = costs_of(FEWER[name], [laid_out(SAME)], TARGET)
    assert len(costs) > 1
    for faster, leaner in pairwise(costs):
        assert leaner.workspace <= faster.workspace / 2
        assert faster.seconds <= leaner.seconds <= 3 * costs[0].seconds


@pytest.mark.parametrize("name", FEWER)
@pytest.mark.parametrize("channels", [3, 32, 80])
def test_costs_are_those_of_each_amount_as_a_limit(name: str, channels: int) -> None:
    """In the fastest layout, with the workspace of whichever takes most."""
    primitive = FEWER[name]
    blocked = laid_out(replace(SAME, channels=channels))
    specs = [blocked, replace(blocked, in_layout="NCHW")]
    found = costs_of(primitive, specs, TARGET)
    amounts = amounts_of(name, blocked)
    assert len(found) == len(amounts)
    for cost, amount in zip(found, amounts, strict=True):
        limited = [replace(spec, workspace_limit=amount) for spec in specs]
        assert cost.seconds == min(primitive.estimate(s, TARGET) for s in limited)
        assert cost.workspace == max(primitive.workspace(s, TARGET) for s in limited)
        assert costs_of(primitive, limited, TARGET) == (cost,)


@pytest.mark.parametrize("name", sampled(FEWER, ["im2row", "winograd4"]))
def test_every_amount_is_kept_and_gives_the_convolution(name: str) -> None:
    primitive = FEWER[name]
    for amount in amounts_of(name, laid_out(SAME)):
        limited = replace(SAME, workspace_limit=amount)
        assert primitive.workspace(laid_out(limited), TARGET) == amount
        assert convolution_error(primitive, limited, TARGET) < TOLERANCE[name]


@pytest.mark.parametrize("name", FEWER)
def test_a_limit_below_all_gives_the_least(name: str) -> None:
    least = FEWER[name].workspace(laid_out(replace(SAME, workspace_limit=0)), TARGET)
    assert 0 < least <= amounts_of(name, laid_out(SAME))[-1]


def test_the_whole_image_is_one_strip_where_it_is_small() -> None:
    small = laid_out(conv(32, (7, 7), 32, 3, pads=(1, 1, 1, 1)))
    assert IM2ROW.plan(small, TARGET).pixels >= 49


def test_bytes_in_the_winograd_domain_at_every_amount() -> None:
    primitive, amounts = LinearWinograd(), []
    for cost in primitive.costs(layer((1, 32, 36, 40), 64, (4, 4))[0], X86[0]):
        op, arrays = layer((1, 32, 36, 40), 64, (4, 4))
        op.attributes["workspace"] = cost.workspace
        kernel = primitive.kernel(op, X86[0])
        assert kernel.workspace == cost.workspace
        np.testing.assert_array_equal(compiled(op, arrays, X86[0]), interpreter.evaluate(op, arrays)[0])
        amounts.append(kernel.workspace)
    assert len(amounts) > 2
    assert amounts == sorted(amounts, reverse=True)


def test_a_cost_table_offers_a_primitive_once_for_each_amount() -> None:
    x = Value(TensorType((1, 32, 40, 44)), "x")
    w = create("nn.constant", [], {"value": np.zeros((48, 32, 3, 3), np.float32)}).result
    attributes: dict[str, Any] = {"pads": (1, 1, 1, 1), "strides": (1, 1), "dilations": (1, 1)}
    choices = AnalyticCosts(TARGET).choices(create("nn.conv", [x, w], attributes))
    amounts = [c.workspace for c in choices if c.primitive == "winograd4"]
    assert len(set(amounts)) == len(amounts) > 1


def test_what_is_no_leaner_or_far_slower_is_not_offered() -> None:
    fast, near, lean, slow = Cost(1.0, 100), Cost(1.1, 60), Cost(1.5, 40), Cost(3.1, 1)
    assert worth_offering([slow, lean, near, fast]) == (fast, lean)


def test_cheapest_is_the_fastest_within_the_limit() -> None:
    costs = {"fast": Cost(1.0, 100), "lean": Cost(2.0, 10), "both": Cost(1.5, 50)}
    assert [cheapest(costs, limit) for limit in (None, 100, 60, 49, 5)] == [
        "fast", "fast", "both", "lean", "lean",
    ]  # fmt: skip


def test_the_largest_part_is_the_first_of_an_even_split() -> None:
    for total in range(1, 60):
        for most in range(1, 70):
            parts = even_split(total, most)
            assert sum(parts) == total
            assert largest_part(total, most) == parts[0] == max(parts) <= most
