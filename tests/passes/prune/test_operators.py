"""What every operator declares of its axes: which may lose channels, and that it then computes the same."""

from __future__ import annotations

import pytest

from secateur.ir.registry import registry

from .closed import Closed, Example, check_closed, free_of
from .examples import EXAMPLES


def name(example: Example) -> str:
    return example.name


def test_every_operator_has_an_example() -> None:
    """So that none is added whose axes are not looked at."""
    assert {e.name for e in EXAMPLES} == {n for n in registry() if not n.startswith("prim.")}


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_axes_that_may_lose_channels(example: Example) -> None:
    assert free_of(Closed(example)) == example.free


@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_it_computes_the_same_without_them(example: Example) -> None:
    for seed in range(3):
        check_closed(Closed(example, seed), seed)
