"""Offsets for buffers in one arena: dynamic storage allocation, known beforehand.

A buffer is made of pieces: byte ranges, each needed over a range of operators.
Pieces of different buffers needed at once must not overlap. The bytes needed at
any one operator bound the arena from below; the search stops at that bound.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

ALIGNMENT = 64
ROUNDS = 400  # of the local search, fewer where a round looks at many pairs
PAIRS = 2_000_000  # pairs of pieces that all rounds together look at

Ranges = list[tuple[int, int]]  # of bytes, or of offsets


@dataclass(frozen=True)
class Piece:
    """Bytes `low` to `high` (excluded) of a buffer, needed from operator `start` to `end`, both included."""

    start: int
    end: int
    low: int
    high: int

    def meets(self, other: Piece) -> bool:
        """Whether the two are needed at one operator."""
        return self.start <= other.end and other.start <= self.end


@dataclass(frozen=True)
class Buffer:
    """Pieces that keep their distance; multiples of ALIGNMENT."""

    pieces: tuple[Piece, ...]

    @staticmethod
    def whole(start: int, end: int, size: int) -> Buffer:
        """A buffer of one piece."""
        return Buffer((Piece(start, end, 0, size),))

    @property
    def start(self) -> int:
        return min(p.start for p in self.pieces)

    @property
    def end(self) -> int:
        return max(p.end for p in self.pieces)

    @property
    def size(self) -> int:
        return max(p.high for p in self.pieces)

    def needed(self, at: int) -> int:
        """Bytes of the buffer needed at operator `at`."""
        return union_length([(p.low, p.high) for p in self.pieces if p.start <= at <= p.end])


def align(size: int) -> int:
    """`size` rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def union_length(ranges: Ranges) -> int:
    """How many integers lie in any of the half-open ranges."""
    total = top = 0
    for low, high in sorted(ranges):
        total += max(0, high - max(top, low))
        top = max(top, high)
    return total


def live_bytes(buffers: Sequence[Buffer]) -> list[int]:
    """Bytes needed at each operator, by number."""
    change = [0] * (max((b.end for b in buffers), default=-1) + 2)
    for b in buffers:
        before = 0
        for at in sorted({t for p in b.pieces for t in (p.start, p.end + 1)}):
            now = b.needed(at)
            change[at] += now - before
            before = now
    return list(accumulate(change))


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """The most bytes needed at once: no arena can be smaller."""
    return max(live_bytes(buffers))


def peak(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Bytes the arena needs."""
    return max((o + b.size for b, o in zip(buffers, offsets, strict=True)), default=0)


# Greedy placement ----------------------------------------------------------------------------------

Neighbours = list[list[tuple[int, Ranges]]]


def _clashes(buffer: Buffer, other: Buffer) -> Ranges:
    """Open ranges of differences `buffer's offset - other's offset` at which the two overlap."""
    return [
        (q.low - p.high, q.high - p.low)
        for p in buffer.pieces
        for q in other.pieces
        if p.meets(q) and p.high > p.low and q.high > q.low
    ]


def _neighbours(buffers: Sequence[Buffer]) -> Neighbours:
    """For each buffer, those alive with it and the differences of offsets that they forbid."""
    result: Neighbours = [[] for _ in buffers]
    active: list[int] = []
    for i in sorted(range(len(buffers)), key=lambda i: buffers[i].start):
        active = [j for j in active if buffers[j].end >= buffers[i].start]
        for j in active:
            clashes = _clashes(buffers[i], buffers[j])
            result[i].append((j, clashes))
            result[j].append((i, [(-high, -low) for low, high in clashes]))
        active.append(i)
    return result


def _free(forbidden: Ranges) -> Ranges:
    """The closed ranges of offsets from 0 on that lie in no open range; the last one has no upper end."""
    found: Ranges = []
    top = 0
    for low, high in sorted(forbidden):
        if low >= top:
            found.append((top, low))
        top = max(top, high)
    return [*found, (top, top)]


def _first_fit(free: Ranges, _: int) -> int:
    """The lowest offset."""
    return free[0][0]


def _best_fit(free: Ranges, _: int) -> int:
    """The offset that leaves least to spare; past everything only where nothing else is free."""
    return min(free[:-1] or free, key=lambda r: r[1] - r[0])[0]


def _either_end(free: Ranges, top: int) -> int:
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


def _place(
    buffers: Sequence[Buffer], order: Sequence[int], near: Neighbours, fit: Fit, bound: int
) -> list[int]:
    """Offsets where each buffer of `order` in turn takes the place that `fit` chooses among those free."""
    offsets = [-1] * len(buffers)
    for i in order:
        forbidden = [
            (offsets[j] + low, offsets[j] + high)
            for j, clashes in near[i]
            if offsets[j] >= 0
            for low, high in clashes
        ]
        offsets[i] = fit(_free(forbidden), bound - buffers[i].size)
    return offsets


def _orders(buffers: Sequence[Buffer]) -> list[list[int]]:
    """Orders worth trying: by size, by area, by lifetime, by the fullest moment, by time.

    Of those that start together, large ones or those that live long come first.
    """
    alive = live_bytes(buffers)
    size, start, end = ([getattr(b, n) for b in buffers] for n in ("size", "start", "end"))
    fullest = [max(alive[first : last + 1]) for first, last in zip(start, end, strict=True)]
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda i: (-size[i], start[i]),
        lambda i: (-size[i] * (end[i] - start[i] + 1), start[i]),
        lambda i: (start[i] - end[i], -size[i]),
        lambda i: (start[i], -size[i]),
        lambda i: (-fullest[i], -size[i], start[i]),
        lambda i: (start[i], -end[i], -size[i]),
    ]
    return [sorted(range(len(buffers)), key=key) for key in keys]


def assign_offsets(buffers: Sequence[Buffer]) -> list[int]:
    """An offset for each buffer, so that pieces needed at once do not overlap.

    Greedy placement in several orders, then a local search over orders.
    Deterministic.
    """
    if not buffers:
        return []
    near, bound = _neighbours(buffers), lower_bound(buffers)
    tried = (
        (_place(buffers, order, near, fit, bound), order)
        for order in _orders(buffers)
        for fit in (_first_fit, _best_fit, _either_end)
    )
    best, order = min(tried, key=lambda t: peak(buffers, t[0]))
    return best if peak(buffers, best) == bound else _search(buffers, best, order, near, bound)


# Local search --------------------------------------------------------------------------------------


def _search(
    buffers: Sequence[Buffer], best: list[int], order: list[int], near: Neighbours, bound: int
) -> list[int]:
    """Improves an order: a buffer at the top moves, or two change places; equal peaks are accepted."""
    choose = random.Random(0)
    reached = peak(buffers, best)
    current, current_offsets = order, best
    pairs = sum(len(clashes) for neighbours in near for _, clashes in neighbours)
    for _ in range(min(ROUNDS, PAIRS // max(1, pairs))):
        if reached == bound:
            break
        trial = _moved(buffers, current, current_offsets, choose)
        offsets = _place(buffers, trial, near, _first_fit, bound)
        if peak(buffers, offsets) <= peak(buffers, current_offsets):
            current, current_offsets = trial, offsets
        if peak(buffers, offsets) < reached:
            best, reached = offsets, peak(buffers, offsets)
    return best


def _moved(
    buffers: Sequence[Buffer], order: list[int], offsets: list[int], choose: random.Random
) -> list[int]:
    trial = list(order)
    if choose.random() < 0.5:
        top = peak(buffers, offsets)
        highest = choose.choice([i for i in trial if offsets[i] + buffers[i].size == top])
        trial.remove(highest)
        trial.insert(choose.randrange(len(trial) + 1), highest)
    else:
        a, b = choose.randrange(len(trial)), choose.randrange(len(trial))
        trial[a], trial[b] = trial[b], trial[a]
    return trial
