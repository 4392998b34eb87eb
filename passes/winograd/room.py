"""Whole numbers near others, of which those that meet in 16 bits add up to little (`ir/support/room.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.support.room import BLOCK, MOST_SIGNED, met_signed, parted_signed

Floats = NDArray[Any]

PAIR = 2
"""Blocks of channels that weights in the Winograd domain leave room for: what that costs hardly shows."""


def is_paired(channels: int) -> bool:
    """Whether blocks of so many channels make pairs."""
    return channels % (PAIR * BLOCK) == 0


def largest_pair(u: Floats) -> Floats:
    """What the largest set of each row of (..., C) adds up to where blocks meet in pairs: (...)."""
    sets: Floats = met_signed(np.abs(u).reshape(-1, u.shape[-1]), PAIR).sum(2).max(1)
    return sets.reshape(u.shape[:-1])


def paired(stored: NDArray[np.int8]) -> NDArray[np.int8]:
    """Weights (taps, M, C) with room for pairs of blocks, where there are any."""
    if not is_paired(stored.shape[2]):
        return stored
    rows = stored.reshape(-1, stored.shape[2])
    return fitted_signed(rows, rows, PAIR).reshape(stored.shape)


def fitted_signed(steps: Floats, whole: Floats, blocks: int) -> NDArray[np.int8]:
    """`whole`, numbers near `steps` (M, C, ...), with the sets that are too large brought down."""
    sets = met_signed(whole, blocks).astype(np.int16)
    over = np.abs(sets).sum(2, keepdims=True) > MOST_SIGNED
    if over.any():
        wanted = met_signed(steps, blocks).astype(np.float64)
        less = np.sign(wanted) * lowered(np.abs(wanted), MOST_SIGNED)
        sets = np.where(over, less, sets)
    found: NDArray[np.int8] = parted_signed(sets, whole.shape[1]).astype(np.int8)
    return found


def lowered(sets: Floats, most: int) -> Floats:
    """Sets of numbers of at least 0 (M, sets, members, ...) as whole ones near them that add up to `most`.

    The nearest real ones are all less by the same, or 0 (Duchi et al. 2008); they are rounded, and what is
    too much then is taken off those that were rounded up most.
    """
    falling = -np.sort(-sets, axis=2)
    counts = np.arange(1, sets.shape[2] + 1).reshape(1, 1, -1, *[1] * (sets.ndim - 3))
    wanted = (sets - ((falling.cumsum(2) - most) / counts).max(2, keepdims=True).clip(0)).clip(0)
    whole: Floats = np.rint(wanted)
    for _ in range(sets.shape[2]):
        over = whole.sum(2, keepdims=True) > most
        furthest = np.where(whole > 0, whole - wanted, -np.inf).argmax(2)[:, :, None]
        np.put_along_axis(whole, furthest, np.take_along_axis(whole, furthest, 2) - over, 2)
    return whole
