"""What Winograd primitives claim of their error, against their compiled kernels."""

from __future__ import annotations

from functools import cache

import pytest

from secateur.codegen.primitives.conv.direct import DIRECT
from secateur.codegen.primitives.conv.winograd.float32 import WINOGRAD

from ....sampled import sampled_rows
from ...conv_harness import targets
from .winograd_noise import error_power, layer

HERE = targets()[0]
FACTOR = 4.0
LAYERS = [(16, 20, "white"), (64, 9, "smooth"), (256, 14, "white")]  # channels, rows, data


@cache
def beyond_direct(number: int, channels: int, size: int, kind: str) -> float:
    spec = layer(channels, size, 16, HERE.lanes)
    return error_power(WINOGRAD[number], spec, HERE, kind) - direct(channels, size, kind)


@cache
def direct(channels: int, size: int, kind: str) -> float:
    return error_power(DIRECT, layer(channels, size, 16, HERE.lanes), HERE, kind)


def claim(number: int, channels: int) -> float:
    return WINOGRAD[number].noise(layer(channels), HERE)


def holds(claimed: float, measured: float) -> bool:
    """Whether a claim is right within `FACTOR`, on either side."""
    return measured / FACTOR <= claimed <= measured * FACTOR


@pytest.mark.parametrize(
    ("number", "channels", "size", "kind"),
    sampled_rows(
        [(number, *row) for number in (1, 2) for row in LAYERS],
        lambda number, *row: number == (1, 2, 2)[[*LAYERS].index(row) % 3],
    ),
)
def test_compiled_kernels_have_the_error_that_is_claimed(
    number: int, channels: int, size: int, kind: str
) -> None:
    measured = beyond_direct(number, channels, size, kind)
    assert holds(claim(number, channels), measured)
    assert not holds(claim(number, channels) * 100, measured)
    assert not holds(claim(number, channels) / 100, measured)


@pytest.mark.parametrize(("channels", "size", "kind"), LAYERS)
def test_the_smallest_tile_adds_nothing_to_what_direct_sums_have(channels: int, size: int, kind: str) -> None:
    assert claim(0, channels) == 0
    assert beyond_direct(0, channels, size, kind) < 0.25 * direct(channels, size, kind)
