"""Primitives of specifications as those of operators: equal layers are asked about once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from secateur.codegen.primitives.conv.im2row.primitive import IM2ROW
from secateur.codegen.primitives.conv.operators import Convolution
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.graph import Operator

from ...generic_harness import operator, rand

TARGET = TARGETS["rpi4"]


class Counting:
    """A primitive that counts what it is asked."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = Counter[str]()

    def __getattr__(self, question: str) -> Any:
        found = getattr(IM2ROW, question)

        def ask(*about: Any) -> Any:
            self.asked[question] += 1
            return found(*about)

        return ask


def conv(filters: int) -> Operator:
    arrays = [rand(1, 16, 20, 21), rand(filters, 16, 3, 3)]
    given = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}
    return operator("conv", arrays, given, constants=(1,))


def answers(adapter: Convolution, op: Operator) -> Any:
    return adapter.applicable(op, TARGET), adapter.layouts(op, TARGET), adapter.costs(op, TARGET)


def test_an_equal_layer_is_not_asked_about_again() -> None:
    counting = Counting()
    adapter = Convolution(counting)
    first = answers(adapter, conv(32))
    assert first[1:] == answers(Convolution(IM2ROW), conv(32))[1:]
    asked = dict(counting.asked)
    assert asked["layouts"] == 1
    assert answers(adapter, conv(32)) == first
    assert counting.asked == asked


@pytest.mark.parametrize("other", [48, 64])
def test_another_layer_is(other: int) -> None:
    counting = Counting()
    adapter = Convolution(counting)
    assert answers(adapter, conv(32))[2] != answers(adapter, conv(other))[2]
    assert counting.asked["layouts"] == 2
