"""The code of every kernel is bounded, however wide its window and however many its channels."""

from __future__ import annotations

import pytest

from secateur.codegen.backends.cpu.objects import build_object
from secateur.codegen.targets.rows import TARGETS
from secateur.tools.bench.extremes import EXTREMES, MOST_BYTES, kernels

from ..sampled import sampled

# The most registers, and so the largest tiles; and tiles of which there are more along a row.
NAMES = ("x86-64-v4-vnni", "x86-64-v3")


LIKE_OTHERS = {
    "conv 1x256, stride 2, one filter", "conv 1x1024, one channel", "conv 31x31, dilated", "conv 11x11",
    "conv 1024x1", "conv 3x3, 4096 channels", "conv depthwise 1x512", "conv depthwise 512x1",
    "linear_conv 1x256, stride 2, one filter", "linear_conv 1x512, many channels", "linear_conv 31x31",
    "linear_conv 7x7, dilated by 16", "linear_conv 11x11", "linear_conv 3x3, 4096 filters",
    "linear_conv grouped 1x512",
    "linear_conv depthwise 31x31", "linear_conv depthwise 512x1", "transposed 11x11, stride 4",
    "transposed 1x1024, stride 512",
}  # fmt: skip
"""What is as wide or as deep stays, in floats or in bytes."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(EXTREMES, {*EXTREMES} - LIKE_OTHERS))
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
