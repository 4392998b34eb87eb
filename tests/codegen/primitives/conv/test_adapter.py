"""Primitives of specifications as those of operators: equal layers are asked about once."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

import pytest

from secateur.codegen.primitives.conv.im2row.primitive import IM2ROW, Im2row
from secateur.codegen.primitives.conv.operators import Convolution
from secateur.codegen.primitives.conv.planned import costs_of
from secateur.codegen.primitives.conv.primitives import PRIMITIVES
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator

from ...generic_harness import operator, rand

TARGET = TARGETS["rpi4"]


class Counting(Im2row):
    """The primitive, counting what it is asked; equal to no other."""

    __eq__, __hash__ = object.__eq__, object.__hash__

    @cached_property
    def asked(self) -> Counter[str]:
        return Counter()

    def layouts(self, *about: Any) -> Any:
        self.asked["layouts"] += 1
        return super().layouts(*about)

    def plans(self, *about: Any) -> Any:
        self.asked["plans"] += 1
        return super().plans(*about)


def conv(filters: int, *epilogue: str) -> Operator:
    arrays = [rand(1, 16, 20, 21), rand(filters, 16, 3, 3)]
    given = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}
    given["epilogue"] = tuple(map(Step, epilogue))
    return operator("conv", arrays, given, constants=(1,))


def answers(adapter: Convolution, op: Operator) -> Any:
    return adapter.applicable(op, TARGET), adapter.layouts(op, TARGET), adapter.costs(op, TARGET)


def test_an_equal_layer_is_not_asked_about_again() -> None:
    counting = Counting()
    adapter = Convolution(counting)
    first = answers(adapter, conv(32))
    assert first[1:] == answers(Convolution(IM2ROW), conv(32))[1:]
    asked = dict(counting.asked)
    assert asked.keys() == {"layouts", "plans"}
    assert answers(adapter, conv(32)) == first
    assert counting.asked == asked


@pytest.mark.parametrize("other", [48, 64])
def test_another_layer_is(other: int) -> None:
    counting = Counting()
    adapter = Convolution(counting)
    first, once = answers(adapter, conv(32)), dict(counting.asked)
    assert first[2] != answers(adapter, conv(other))[2]
    assert counting.asked == {question: 2 * times for question, times in once.items()}


@pytest.mark.parametrize("ending", [False, True])
def test_what_follows_the_sums_is_asked_about_where_it_counts(ending: bool) -> None:
    counting = Counting()
    adapter = Convolution(counting, ending=ending)
    first = adapter.costs(conv(32), TARGET)
    assert adapter.costs(conv(32, "relu"), TARGET) == first
    assert counting.asked["plans"] == (4 if ending else 2)  # in two layouts


def test_costs_are_those_of_the_layer_with_its_ending() -> None:
    for adapter in PRIMITIVES:
        if isinstance(adapter, Convolution):
            op = conv(32, "relu", "sigmoid")
            specs = [] if adapter.applicable(op, TARGET) else adapter.specs(op, TARGET)
            assert not specs or adapter.costs(op, TARGET) == costs_of(adapter.primitive, specs, TARGET)
