"""Numbers in binary16: where they end, and what is rounded to them."""

import numpy as np
import pytest

from secateur.ir.support.half import LARGEST, LEAST_NORMAL, overflows, rounded


def test_the_ends_are_those_of_the_format() -> None:
    assert np.finfo(np.float16).max == LARGEST
    assert np.finfo(np.float16).smallest_normal == LEAST_NORMAL


@pytest.mark.parametrize(
    ("value", "beyond"), [(65519.0, False), (65520.0, True), (-1e9, True), (np.inf, False), (np.nan, False)]
)
def test_what_is_finite_overflows(value: float, beyond: bool) -> None:
    assert overflows(np.array([1.0, value, np.inf], np.float32)) == beyond


def test_numbers_become_the_nearest() -> None:
    found = rounded(np.array([2049.0, 2051.0, 65520.0], np.float32))
    assert found.dtype == np.float16
    assert found.tolist() == [2048.0, 2052.0, np.inf]
