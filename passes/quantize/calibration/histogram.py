"""A histogram of a stream of float32 values, exact in its counts, of a size that never grows.

Bins are equally wide and symmetric about zero; their width is a power of two.
A value outside doubles the width, by which each new bin is the union of two old
ones: the counts are those that the final width would have given from the start,
in whatever order the values came. Zeros are counted apart from the bins, since
a quantized tensor holds zero exactly and a ReLU makes most values zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Counts = NDArray[np.int64]

SIDE = 4096
"""Bins on each side of zero; more than half of those on the wider side are in use."""

_SMALLEST_LIMIT = 2.0**-120
_CHUNK = 1 << 15


def _limit_for(magnitude: float) -> float:
    """The smallest power of two above `magnitude`."""
    return math.ldexp(1.0, math.frexp(max(magnitude, _SMALLEST_LIMIT / 2))[1])


def _doubled(counts: Counts) -> Counts:
    """The counts in bins of twice the width."""
    wider = np.zeros_like(counts)
    wider[SIDE // 2 : SIDE // 2 + SIDE] = counts.reshape(-1, 2).sum(axis=1)
    return wider


def _no_counts() -> Counts:
    return np.zeros(2 * SIDE, np.int64)


@dataclass(eq=False)
class Histogram:
    """Counts of the non-zero values in 2 `SIDE` bins over [-limit, limit), zeros, and extremes.

    `low` and `high` are the least and the largest finite value (0 where there
    is none); `strange` counts NaNs and infinities, which are in no bin.
    """

    counts: Counts = field(default_factory=_no_counts)
    limit: float = _SMALLEST_LIMIT
    zeros: int = 0
    strange: int = 0
    low: float = 0.0
    high: float = 0.0

    @property
    def width(self) -> float:
        """The width of a bin."""
        return self.limit / SIDE

    @property
    def total(self) -> int:
        """How many finite values were added."""
        return int(self.counts.sum()) + self.zeros

    @property
    def edges(self) -> NDArray[np.float64]:
        """The 2 `SIDE` + 1 edges of the bins."""
        return np.arange(-SIDE, SIDE + 1, dtype=np.float64) * self.width

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin."""
        return (np.arange(-SIDE, SIDE, dtype=np.float64) + 0.5) * self.width

    def add(self, array: Array) -> None:
        """Counts every element of a float array of any shape."""
        values = np.asarray(array, np.float32).reshape(-1)
        if values.size and not (math.isfinite(values.min()) and math.isfinite(values.max())):
            finite = values[np.isfinite(values)]
            self.strange += values.size - finite.size
            values = finite
        if values.size:
            self._widen(float(values.min()), float(values.max()))
            for start in range(0, values.size, _CHUNK):
                self._count(values[start : start + _CHUNK])

    def _widen(self, low: float, high: float) -> None:
        """Takes the extremes of new values in; doubles the bins until these are inside."""
        total = self.total
        self.low = low if total == 0 else min(self.low, low)
        self.high = high if total == 0 else max(self.high, high)
        needed = _limit_for(max(-low, high))
        if total == self.zeros:  # the bins are empty
            self.limit = max(self.limit, needed)
        while self.limit < needed:
            self.counts = _doubled(self.counts)
            self.limit *= 2

    def _count(self, values: Array) -> None:
        # Exact: float64 holds a float32 divided by a power of two.
        bins = np.floor(values.astype(np.float64) * (1 / self.width)).astype(np.int64) + SIDE
        zeros = values.size - int(np.count_nonzero(values))
        self.counts += np.bincount(bins, minlength=2 * SIDE)
        self.counts[SIDE] -= zeros
        self.zeros += zeros

    def bin_of_rank(self, rank: int) -> tuple[float, float]:
        """The edges of the bin that holds the value of `rank` (0: the least); (0, 0) for a zero."""
        before = np.cumsum(self.counts[:SIDE])
        negative = int(before[-1])
        if negative <= rank < negative + self.zeros:
            return 0.0, 0.0
        if rank < negative:
            at = int(np.searchsorted(before, rank, side="right"))
        else:
            after = np.cumsum(self.counts[SIDE:]) + negative + self.zeros
            at = SIDE + int(np.searchsorted(after, rank, side="right"))
        return (at - SIDE) * self.width, (at + 1 - SIDE) * self.width
