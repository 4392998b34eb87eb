"""Arithmetic of TFLite's reference kernels: a real factor as a 32-bit multiplier and a shift, rounded twice.

A product by a real number is x * multiplier * 2^(shift - 31). The high half of the product is rounded to the
nearest, then what the shift drops, halves away from zero each time. Factors are computed as those kernels do,
some in float32 and some in float64, for the last bit of a multiplier decides ties.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Array = NDArray[Any]


def away(x: Array) -> Array:
    """Rounded to whole numbers, halves away from zero; float64."""
    wide = x.astype(np.float64)
    found: Array = np.copysign(np.floor(np.abs(wide) + 0.5), wide)
    return found


def multiplier_of(real: float) -> tuple[int, int]:
    """The multiplier, in [2^30, 2^31), and the shift of a factor; 0 and 0 where it is less than 2^-32."""
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * 2.0**31 + 0.5)
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def multipliers_of(reals: NDArray[np.float64]) -> tuple[Integers, Integers]:
    """Those of several factors, in their shape."""
    pairs = np.array([multiplier_of(float(r)) for r in reals.reshape(-1)], np.int64).reshape(-1, 2)
    return pairs[:, 0].reshape(reals.shape), pairs[:, 1].reshape(reals.shape)


def _wrapped(x: Integers) -> Integers:
    """What 32 bits keep of `x`."""
    return x.astype(np.int32).astype(np.int64)


def high_half(x: Integers, multiplier: Integers | int) -> Integers:
    """round(x * multiplier / 2^31), halves away from zero."""
    product = x * multiplier
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    found: Integers = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))
    return found


def divided(x: Integers, bits: Integers | int) -> Integers:
    """round(x / 2^bits), halves away from zero."""
    mask = np.left_shift(np.int64(1), bits) - 1
    found: Integers = (x >> bits) + ((x & mask) > (mask >> 1) + (x < 0))
    return found


def rescaled(x: Integers, multiplier: Integers | int, shift: Integers | int) -> Integers:
    """`x`, which fits 32 bits, times a factor given as multiplier and shift, which broadcast to it."""
    left, right = np.maximum(shift, 0), np.maximum(np.negative(shift), 0)
    return divided(high_half(_wrapped(np.left_shift(x, left)), multiplier), right)
