"""The code of every kernel is bounded, however wide its window and however many its channels."""

from __future__ import annotations

import pytest

from secateur.codegen.backends.cpu.objects import build_object
from secateur.codegen.targets.rows import TARGETS
from secateur.tools.bench.extremes import EXTREMES, MOST_BYTES, kernels

# The most registers, and so the largest tiles; and tiles of which there are more along a row.
NAMES = ("x86-64-v4-vnni", "x86-64-v3")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_become_little_code(name: str) -> None:
    target = TARGETS[NAMES[0]]
    sizes = {
        primitive: len(build_object(kernel, "k", target).code) for primitive, kernel in kernels(name, target)
    }
    assert any("naive" not in primitive for primitive in sizes)
    assert max(sizes.values()) <= MOST_BYTES, sizes


def test_a_1_d_network_computes_with_a_fast_kernel() -> None:
    """Loads with a stride make the plain loops slower than a tile of which one lane is used."""
    target = TARGETS[NAMES[1]]
    from secateur.codegen.backends.cpu.costs import AnalyticCosts

    choices = AnalyticCosts(target).choices(EXTREMES["conv 1x256, stride 2, one filter"]())
    assert min(choices, key=lambda choice: choice.seconds).primitive == "direct"
