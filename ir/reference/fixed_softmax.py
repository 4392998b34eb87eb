"""Softmax of bytes in fixed point, as TFLite's reference kernel computes it by the library gemmlowp.

A number of n integer bits is a 32-bit integer in steps of 2^(n - 31). Products keep the high half, rounded.
"""

from __future__ import annotations

import math

import numpy as np

from .fixed_point import Integers, divided, high_half, multiplier_of

DIFFERENCE_BITS, SUM_BITS = 5, 12
"""Integer bits of what is exponentiated, and of the sum."""
ONE = (1 << 31) - 1
"""1 where there are no integer bits, but for a step."""
_EIGHTH, _THIRD = 1895147668, 715827883
"""exp(-1/8), the middle of the interval that is expanded there; and a third."""
_POWERS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
"""exp(-2^n)."""
_48_17, _NEG_32_17 = 1515870810, -1010580540
"""48/17 and -32/17 with two integer bits, from which Newton's method for a quotient starts."""


def _saturated(x: Integers) -> Integers:
    return np.clip(x, -(1 << 31), ONE)


def _near_zero(a: Integers) -> Integers:
    """e^a for a from -1/4 to 0: a Taylor series around -1/8."""
    x = a + (1 << 28)
    square = high_half(x, x)
    cube, fourth = high_half(square, x), high_half(square, square)
    rest = divided(high_half(divided(fourth, 2) + cube, _THIRD) + square, 1)
    found: Integers = _EIGHTH + high_half(np.full_like(x, _EIGHTH), x + rest)
    return found


def negative_exp(a: Integers) -> Integers:
    """e^a, without integer bits, for a up to 0 with five: e^(a mod 1/4), then a factor for each bit left."""
    fraction = 31 - DIFFERENCE_BITS
    quarter = 1 << fraction - 2
    inside = (a & (quarter - 1)) - quarter
    result, rest = _near_zero(_saturated(inside << DIFFERENCE_BITS)), inside - a
    for power, factor in _POWERS.items():
        met = (rest & (1 << fraction + power)) != 0
        result = np.where(met, high_half(result, factor), result)
    return np.where(a == 0, ONE, result)


def reciprocal(x: Integers) -> tuple[Integers, Integers]:
    """1 / x, without integer bits, for x with twelve, and by how many bits it is too large."""
    zeros = 32 - np.ceil(np.log2(x.astype(np.float64) + 0.5)).astype(np.int64)
    return _over_one_plus((x << zeros) - (1 << 31)), SUM_BITS - zeros


def _over_one_plus(a: Integers) -> Integers:
    """1 / (1 + a) for a from 0 to 1: three steps of Newton's method."""
    half = (a + ONE + 1) // 2
    x = _48_17 + high_half(half, _NEG_32_17)
    for _ in range(3):
        left = (1 << 29) - high_half(half, x)
        x = x + _saturated(high_half(x, left) << 2)
    return _saturated(x << 1)


def softmax(x: Integers, scale: float) -> Integers:
    """Steps of 1/256, from 0 to 255, along the last axis of integers in steps of `scale`."""
    real = min(scale * 2.0 ** (31 - DIFFERENCE_BITS), 2.0**31 - 1)
    multiplier, shift = multiplier_of(real)
    least = -math.floor((2**DIFFERENCE_BITS - 1) * 2.0 ** (31 - DIFFERENCE_BITS) / 2.0**shift)
    below = x - x.max(axis=-1, keepdims=True)
    counted = below >= least
    powers = negative_exp(high_half(np.where(counted, below, 0) << shift, multiplier))
    total = np.where(counted, divided(powers, SUM_BITS), 0).sum(axis=-1, keepdims=True)
    factor, bits = reciprocal(total)
    shares = divided(high_half(powers, factor), bits + 31 - 8)
    return np.where(counted, np.clip(shares, 0, 255), 0)
