"""Weights rounded to what takes few bits: rate against distortion, for one layer.

    step of a filter:  one for all, of which power of noise + lambda bits is least
    value of a weight: the z of which weight (w - z step)^2 + lambda' bits(z) is least

A weight's bits are those of its frequency in the layer, as entropy coders give them. Weights are rounded in
turn, and what one's error does to results is made up for by those that come after it, as in GPTQ (Frantar et
al. 2023). With steps alike, filters of small weights have small integers, which the codecs with contexts see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..winograd.rounding import BLOCK
from .curvature import Curvature

Floats = NDArray[Any]

SLOPE = 0.1155
"""Noise a bit, of a step's square: a step's noise is its square / 12, and a bit more makes it a quarter."""
_CANDIDATES = (0, 1, 2)
"""Steps from the nearest towards zero that are tried, beside zero itself."""
_SEEN = 0.25
"""How often each value counts as seen before any is."""


def entropy_bits(stored: NDArray[np.int8]) -> float:
    """Of an array's own values, each for itself; no table is counted."""
    counts = np.bincount(stored.reshape(-1).view(np.uint8), minlength=1)
    counts = counts[counts > 0]
    return float((counts * np.log2(max(stored.size, 1) / counts)).sum())


def step_of(curvature: Curvature, strength: float) -> float:
    """The step whose square adds noise of `strength` a weight, in shares of the results' power, times 12."""
    return float(np.sqrt(strength / curvature.typical))


def cheaper(
    matrices: Floats, units: Floats, curvature: Curvature, strength: float, largest: int
) -> NDArray[np.int8]:
    """Integers z for which z unit is near `matrices` (g k, m, n) and which take few bits.

    `units` (g k, m) are the filters' steps. A bit is worth noise of SLOPE x `strength`.
    """
    turns = curvature.turns
    ordered = turns.ordered(matrices / units[:, :, None])
    left = np.ascontiguousarray(np.swapaxes(ordered, 1, 2))
    weight = curvature.weight / (SLOPE * strength)
    squares = np.square(units)
    worth = weight[:, :, None] * squares[:, None, :]
    bits = _bits(_cheapest(left, worth, _bits(_nearest(left, largest)), largest))
    for start in range(0, left.shape[1], BLOCK):
        part, rest = slice(start, start + BLOCK), slice(start + BLOCK, None)
        errors = _round_block(left[:, part], turns.spread[:, part, part], worth[:, part], bits, largest)
        left[:, rest] -= turns.spread[:, rest, part] @ errors
    found = np.empty(matrices.shape, np.int8)
    np.put_along_axis(found, turns.order[:, None, :], np.swapaxes(left, 1, 2).astype(np.int8), 2)
    return found


def _round_block(left: Floats, spread: Floats, worth: Floats, bits: Floats, largest: int) -> Floats:
    """Rounds columns (matrices, columns, m) in turn, in place; what each leaves for those after them."""
    errors = np.empty_like(left)
    for i in range(left.shape[1]):
        whole = _cheapest(left[:, i], worth[:, i], bits, largest)
        errors[:, i] = (left[:, i] - whole) / spread[:, i, i, None]
        left[:, i] = whole
        left[:, i + 1 :] -= spread[:, i + 1 :, i, None] * errors[:, i, None]
    return errors


def _nearest(left: Floats, largest: int) -> Floats:
    found: Floats = np.clip(np.rint(left), -largest, largest)
    return found


def _cheapest(left: Floats, worth: Floats, bits: Floats, largest: int) -> Floats:
    """The whole number near each of `left` of least error x worth + bits."""
    nearest = _nearest(left, largest)
    best, least = np.zeros_like(left), worth * np.square(left) + bits[128]
    for steps in _CANDIDATES:
        tried = np.sign(nearest) * np.maximum(np.abs(nearest) - steps, 0)
        cost = worth * np.square(left - tried) + bits[tried.astype(np.int64) + 128]
        better = cost < least
        best, least = np.where(better, tried, best), np.where(better, cost, least)
    return best


def _bits(values: Floats) -> Floats:
    """What each integer from -128 on takes by how often it is among `values`."""
    counts = np.bincount(values.astype(np.int64).reshape(-1) + 128, minlength=256) + _SEEN
    found: Floats = -np.log2(counts / counts.sum())
    return found
