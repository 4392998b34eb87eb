"""Greedy placement: buffers in some order, each at a place that is free when its turn comes.

Two ways that give the same offsets. Where few buffers are needed at once, each
knows the others that it could meet, and looks only at those. Where many are, such
lists grow as the square of the buffers, and all that is placed is kept sorted instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .arena import Buffer, Piece, Ranges

CROWD = 100  # pairs of pieces for each piece, from where on arrays are faster than lists

Integers = np.ndarray[Any, np.dtype[np.int64]]

# Fits ----------------------------------------------------------------------------------------------


def first_fit(free: Ranges, _: int) -> int:
    """The lowest offset."""
    return free[0][0]


def best_fit(free: Ranges, _: int) -> int:
    """The offset that leaves least to spare; past everything only where nothing else is free."""
    return min(free[:-1] or free, key=lambda r: r[1] - r[0])[0]


def either_end(free: Ranges, top: int) -> int:
    """Offset 0 or, where that is taken, the highest one up to `top`; the lowest where none is.

    Placed by time, the buffers of a chain lie at one end and the other in turn, and so reach the bound:
    no two neighbours need more. What one operator alone needs then fits between its operands and results.
    """
    if free[0][0] == 0:
        return 0
    *between, (above, _) = free
    if above <= top:
        return top
    return max((min(high, top) for low, high in between if low <= top), default=free[0][0])


Fit = Callable[[Ranges, int], int]
"""Chooses among the free offsets; the second argument is the highest that the bound allows."""

# Placement -----------------------------------------------------------------------------------------


def meeting_pairs(pieces: Sequence[Piece]) -> int:
    """How many pairs of pieces are needed at one operator, counted without looking at each."""
    starts = sorted(p.start for p in pieces)
    count = len(pieces)
    return sum(bisect_right(starts, p.end) for p in pieces) - count * (count + 1) // 2


def _with_bytes(pieces: Sequence[Piece]) -> list[Piece]:
    return [p for p in pieces if p.high > p.low]


class Placement(ABC):
    """Places the buffers of one arena, as often as asked."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.buffers = buffers

    @cached_property
    def pairs(self) -> int:
        """Twice the pairs of pieces, of different buffers, needed at once: the work of one placement."""
        everything = [p for b in self.buffers for p in b.pieces]
        within = sum(meeting_pairs(_with_bytes(b.pieces)) for b in self.buffers)
        return 2 * (meeting_pairs(_with_bytes(everything)) - within)

    @abstractmethod
    def place(self, order: Sequence[int], fit: Fit, bound: int) -> list[int]:
        """Offsets where each buffer of `order` in turn takes the place that `fit` chooses of those free."""


def placement_of(buffers: Sequence[Buffer]) -> Placement:
    """The faster way for these buffers."""
    pieces = _with_bytes([p for b in buffers for p in b.pieces])
    return ByArrays(buffers) if meeting_pairs(pieces) > CROWD * len(pieces) else ByLists(buffers)


# Few at once ---------------------------------------------------------------------------------------


def _free(forbidden: Ranges) -> Ranges:
    """The closed ranges of offsets from 0 on that lie in no open range; the last one has no upper end."""
    found: Ranges = []
    top = 0
    for low, high in sorted(forbidden):
        if low >= top:
            found.append((top, low))
        top = max(top, high)
    return [*found, (top, top)]


class ByLists(Placement):
    """Each buffer with those needed together with it, piece by piece."""

    @cached_property
    def _near(self) -> list[list[tuple[int, int, int]]]:
        """For each buffer others, each with an open range of differences of offsets that it forbids."""
        near: list[list[tuple[int, int, int]]] = [[] for _ in self.buffers]
        pieces = [(p, i) for i, b in enumerate(self.buffers) for p in _with_bytes(b.pieces)]
        active: list[tuple[Piece, int]] = []
        for p, i in sorted(pieces, key=lambda pair: pair[0].start):
            active = [(q, j) for q, j in active if q.end >= p.start]
            for q, j in active:
                if i != j:
                    near[i].append((j, q.low - p.high, q.high - p.low))
                    near[j].append((i, p.low - q.high, p.high - q.low))
            active.append((p, i))
        return near

    def place(self, order: Sequence[int], fit: Fit, bound: int) -> list[int]:
        offsets = [-1] * len(self.buffers)
        for i in order:
            forbidden = [
                (offsets[j] + low, offsets[j] + high) for j, low, high in self._near[i] if offsets[j] >= 0
            ]
            offsets[i] = fit(_free(forbidden), bound - self.buffers[i].size)
        return offsets


# Many at once --------------------------------------------------------------------------------------


def _free_between(lows: Integers, highs: Integers) -> Ranges:
    """As `_free`, of open ranges sorted by their lower ends."""
    tops = np.maximum.accumulate(np.concatenate(([0], highs)))
    gaps = lows >= tops[:-1]
    top = int(tops[-1])
    return [*zip(tops[:-1][gaps].tolist(), lows[gaps].tolist(), strict=True), (top, top)]


class ByArrays(Placement):
    """All that is placed in one array: a column for each piece (start, end, low, high), sorted by `low`."""

    @cached_property
    def _columns(self) -> list[Integers]:
        found = []
        for b in self.buffers:
            rows = [(p.start, p.end, p.low, p.high) for p in _with_bytes(b.pieces)]
            found.append(np.array(sorted(rows, key=lambda r: r[2]), np.int64).reshape(-1, 4).T)
        return found

    def place(self, order: Sequence[int], fit: Fit, bound: int) -> list[int]:
        offsets = [-1] * len(self.buffers)
        placed = np.empty((4, 0), np.int64)
        for i in order:
            columns = self._columns[i]
            offset = offsets[i] = fit(self._free(placed, columns), bound - self.buffers[i].size)
            moved = columns + np.array([[0], [0], [offset], [offset]])
            placed = np.insert(placed, np.searchsorted(placed[2], moved[2]), moved, axis=1)
        return offsets

    def _free(self, placed: Integers, columns: Integers) -> Ranges:
        lows, highs = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for start, end, low, high in columns.T.tolist():
            met = (placed[0] <= end) & (placed[1] >= start)
            lows.append(placed[2][met] - high)
            highs.append(placed[3][met] - low)
        low_ends, high_ends = np.concatenate(lows), np.concatenate(highs)
        order = np.argsort(low_ends, kind="stable")  # linear where it is sorted already
        return _free_between(low_ends[order], high_ends[order])
