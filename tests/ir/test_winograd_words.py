"""Results of Winograd convolutions in words of 16 bits: scalar arithmetic's, and near those in floats."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.opdef import TypeRuleError
from secateur.ir.reference.winograd import quantized_input, transformed_input
from secateur.ir.reference.words import columns_fit, endings, word_factors
from secateur.ir.registry import create
from tests.ir.eight_bit import F32, REAL, Array, answer, byte, factor, result

from .test_winograd_conv import TILES, operands

Pixels = list[list[int]]


def limited(value: int) -> int:
    return max(-(2**15), min(2**15 - 1, value))


def once(f: Sequence[int], each: Any = limited) -> list[int]:
    """A^T f without roots."""
    s, d = each(f[1] + f[2]), each(f[1] - f[2])
    if len(f) == 4:
        return [each(f[0] + s), each(d + f[3])]
    n, o = each(f[3] + f[4]), each(f[3] - f[4])
    last = each(each(d + o // 4) + f[5])
    return [each(each(f[0] + s // 2) + n), each(d + o), each(s + n // 2), last]


def unlimited(value: int) -> int:
    """What a column adds up to fits."""
    assert limited(value) == value
    return value


def one_tile(
    sums: Array,
    scales: Array,
    bias: float,
    zero: int,
    how: tuple[tuple[int, int], int],
    residual: tuple[Array, float],
) -> Pixels:
    """The stored pixels of one filter and tile of sums (rows, columns); `how` is tile and `factor_bits`."""
    tile, factor_bits = how
    shift, factors, _ = word_factors(scales, factor_bits)
    m: Array = factors[:, 0].reshape(sums.shape)
    x = [[limited((int(p) + 2 ** (shift - 1)) // 2**shift) for p in row] for row in sums]
    f = [[(x[i][j] * int(m[i, j]) + 2**14) // 2**15 for j in range(sums.shape[1])] for i in range(len(x))]
    down = [once(c, limited if factor_bits > 13 else unlimited) for c in zip(*f, strict=True)]
    ys = [once([column[i] for column in down]) for i in range(tile[0])]
    power = [[0, -1, 0, 1] if outputs == 4 else [0, 0] for outputs in tile]
    for i, j in product(range(tile[0]), range(tile[1])):
        bits = 3 - -(-(power[0][i] + power[1][j]) // 2)
        if (power[0][i] + power[1][j]) % 2:
            ys[i][j] = (ys[i][j] * 23170 + 2**14) // 2**15
        word = limited(int(np.rint((float(F32(bias)) + zero) * 2**bits)))
        r, worth = int(residual[0][i, j]), residual[1]
        n = min(2**15 - 1, int(np.rint(worth * 2 ** (8 + bits))))
        total = limited(limited(ys[i][j] + word) + (128 * r * n + 2**14) // 2**15)
        ys[i][j] = (total + 2 ** (bits - 1)) // 2**bits
    return ys


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    tile=st.sampled_from(TILES),
    reach=st.sampled_from([1e-6, 1e-4, 1e-2, 1.0]),
    share=st.sampled_from([0.002, 0.05, 0.9]),
    factor_bits=st.sampled_from([13, 15]),
)
def test_words_are_the_scalar_definition(
    seed: int, tile: tuple[int, int], reach: float, share: float, factor_bits: int
) -> None:
    """Without a residual and with one."""
    rng = np.random.default_rng(seed)
    shape = tile[0] + 2, tile[1] + 2
    taps = shape[0] * shape[1]
    x = rng.integers(0, 256, (1, 64, *shape)).astype(np.uint8)
    u = rng.integers(-127, 128, (taps, 1, 64)).astype(np.int8)
    factors = rng.integers(1, 6000, (taps, 64)).astype(np.int16)
    scales = (reach * rng.uniform(0.1, 1, (taps, 1))).astype(F32)
    bias = (40 * rng.standard_normal(1)).astype(F32)
    arrays: list[Array] = [x, u, factors, scales, bias]
    attributes = {"tile": tile, "pads": (0, 0, 0, 0), **result(0.04, 100, (2, 240)), "results": "words"}
    attributes["factor_bits"] = factor_bits
    sums, r = sums_of(arrays, 7, tile), rng.integers(0, 256, (1, 1, *tile)).astype(np.uint8)
    for residual, added in (([], 9), ([r], r[0, 0])):
        values = [*operands(arrays, 7), *(byte(r.shape, share, 9) for _ in residual)]
        found = answer("q.winograd_conv", values, attributes, [*arrays, *residual])
        worth = np.array(added, int) - 9 + np.zeros(tile, int), float(factor(share, by=0.04))
        wanted = np.clip(one_tile(sums, scales, float(bias[0]), 100, (tile, factor_bits), worth), 2, 240)
        np.testing.assert_array_equal(found[0, 0], wanted)


def sums_of(arrays: list[Array], zero: int, tile: tuple[int, int]) -> Array:
    """P of the only filter and tile."""
    x, u, factors = arrays[:3]
    d = x.astype(np.int64)[0].transpose(1, 2, 0)[..., None] - zero
    q = quantized_input(transformed_input(d), factors)[..., 0]
    found: Array = (u[:, 0].astype(np.int64) * q).sum(1).reshape(tile[0] + 2, tile[1] + 2)
    return found


def test_factors_are_the_largest_that_sums_down_a_column_have_room_for() -> None:
    scales = np.array([[1e-3, 5e-4], [2e-3, 1e-5]], F32)
    shift, numbers, exact = word_factors(scales, 13)
    assert exact
    assert 2**12 < numbers.max() < 2**13
    np.testing.assert_array_equal(numbers, np.rint(scales.astype(float) * 2 ** (18 + shift)))


def test_scales_that_leave_no_shift_are_limited_and_say_so() -> None:
    shift, numbers, exact = word_factors(np.array([[1.0, 1e-3]], F32), 13)
    assert (shift, exact) == (1, False)
    assert numbers.tolist() == [[8191, 524]]


@pytest.mark.parametrize("tile", TILES)
def test_factors_of_13_bits_leave_columns_room_and_some_of_14_do(tile: tuple[int, int]) -> None:
    taps = (tile[0] + 2) * (tile[1] + 2)
    for largest, fits in ((2**13 - 1, True), (2**14 - 1, False)):
        assert columns_fit(np.full((taps, 2), largest, np.int16), tile) is fits
    numbers = np.full((taps, 2), 2**12, np.int16)
    numbers[0] = 1 - 2**14
    assert columns_fit(numbers, tile)


def test_pixels_end_in_two_to_four_bits() -> None:
    of_four = endings((4, 4))
    assert [[e.bits for e in row] for row in of_four] == [
        [3, 3, 3, 2],
        [3, 4, 3, 3],
        [3, 3, 3, 2],
        [2, 3, 2, 2],
    ]
    assert sum(e.root for row in of_four for e in row) == 8
    assert {e for row in endings((2, 2)) for e in row} == {of_four[0][0]}


@pytest.mark.parametrize("tile", TILES)
def test_words_are_near_floats(tile: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    taps = (tile[0] + 2) * (tile[1] + 2)
    x = rng.integers(0, 256, (1, 32, 16, 16)).astype(np.uint8)
    u = rng.integers(-127, 128, (taps, 16, 32)).astype(np.int8)
    factors = rng.integers(1000, 6000, (taps, 32)).astype(np.int16)
    scales = (rng.uniform(1, 2, (taps, 16)) * 2e-4).astype(F32)
    arrays: list[Array] = [x, u, factors, scales, (10 * rng.standard_normal(16)).astype(F32)]
    attributes = {"tile": tile, "pads": (1, 1, 1, 1), **result(0.04, 128)}
    both = [
        answer("q.winograd_conv", operands(arrays, 0), {**attributes, "results": how}, arrays).astype(int)
        for how in ("floats", "words")
    ]
    assert np.unique(both[0]).size > 60
    assert np.abs(both[0] - both[1]).max() <= 1
    assert np.mean(both[0] != both[1]) < 0.15


SHAPE = (1, 3, 4, 4)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "sorts": ({"results": "bytes"}, "results are floats or words, not 'bytes'"),
    "factors": ({"factor_bits": 12}, "words have factors of 13 to 15 bits, not 12"),
    "reals": (REAL, "results in words are no reals"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_results_that_are_no_words(what: str) -> None:
    changed, message = REFUSED[what]
    arrays = [np.zeros(s, t) for s, t in ((SHAPE, np.uint8), ((16, 2, 3), np.int8), ((16, 3), np.int16))]
    arrays += [np.ones((16, 2), F32), np.zeros(2, F32)]
    attributes = {"tile": (2, 2), "pads": (1, 1, 1, 1), "results": "words", **result(0.04, 0), **changed}
    if what == "reals":
        attributes.update(scales=(), zero_points=())
    with pytest.raises(TypeRuleError, match=message):
        create("q.winograd_conv", operands(arrays, 0), attributes)


def test_filters_have_no_words() -> None:
    filters: list[Array] = [
        np.zeros(SHAPE, np.uint8),
        np.zeros((2, 3, 3, 3), np.int8),
        np.zeros((16, 3), np.int16),
    ]
    filters += [np.ones(2, F32), np.zeros(2, F32)]
    attributes = {"tile": (2, 2), "pads": (1, 1, 1, 1), "results": "words", **result(0.04, 0)}
    with pytest.raises(TypeRuleError, match="want weights of their domain"):
        create("q.winograd_conv", operands(filters, 0), attributes)
