"""Offsets for buffers in one arena: dynamic storage allocation, known beforehand.

A buffer lives over a range of operators and has a size. Buffers alive at once
must not overlap. The sum of sizes alive at any one operator bounds the arena
from below; the search stops where it reaches that bound.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ALIGNMENT = 64
SEARCH = 200_000  # placements tried by the local search, over all its rounds


@dataclass(frozen=True)
class Buffer:
    """`size` bytes (a multiple of ALIGNMENT), alive from operator `start` to `end`, both included."""

    start: int
    end: int
    size: int

    def meets(self, other: Buffer) -> bool:
        """Whether the two are alive at one operator."""
        return self.start <= other.end and other.start <= self.end


def align(size: int) -> int:
    """`size` rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def live_bytes(buffers: Sequence[Buffer]) -> dict[int, int]:
    """Bytes alive at each operator where something starts."""
    return {at: sum(b.size for b in buffers if b.start <= at <= b.end) for at in {b.start for b in buffers}}


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """The largest sum of sizes alive at once: no arena can be smaller."""
    return max(live_bytes(buffers).values(), default=0)


def peak(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Bytes the arena needs."""
    return max((o + b.size for b, o in zip(buffers, offsets, strict=True)), default=0)


Neighbours = list[list[int]]


def _neighbours(buffers: Sequence[Buffer]) -> Neighbours:
    """For each buffer, those alive with it."""
    result: Neighbours = [[] for _ in buffers]
    active: list[int] = []
    for i in sorted(range(len(buffers)), key=lambda i: buffers[i].start):
        active = [j for j in active if buffers[j].end >= buffers[i].start]
        for j in active:
            result[i].append(j)
            result[j].append(i)
        active.append(i)
    return result


def _best_fit(taken: list[tuple[int, int]], size: int) -> int:
    """The offset of the smallest gap between `taken` ranges that holds `size`, or past them all."""
    taken.sort()
    top, best, slack = 0, -1, 0
    for low, high in taken:
        gap = low - top
        if gap >= size and (best < 0 or gap - size < slack):
            best, slack = top, gap - size
        top = max(top, high)
    return top if best < 0 else best


def _first_fit(taken: list[tuple[int, int]], size: int) -> int:
    """The lowest offset between `taken` ranges that holds `size`."""
    taken.sort()
    top = 0
    for low, high in taken:
        if low - top >= size:
            return top
        top = max(top, high)
    return top


Fit = Callable[[list[tuple[int, int]], int], int]


def _place(buffers: Sequence[Buffer], order: Sequence[int], near: Neighbours, fit: Fit) -> list[int]:
    """Offsets where each buffer of `order` in turn takes the place that `fit` finds among those placed."""
    offsets = [-1] * len(buffers)
    for i in order:
        taken = [(offsets[j], offsets[j] + buffers[j].size) for j in near[i] if offsets[j] >= 0]
        offsets[i] = fit(taken, buffers[i].size)
    return offsets


def _orders(buffers: Sequence[Buffer]) -> list[list[int]]:
    """Orders worth trying: by size, by area, by lifetime, by time, by the fullest moment."""
    alive = live_bytes(buffers)
    fullest = [max((v for at, v in alive.items() if b.start <= at <= b.end), default=0) for b in buffers]
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda i: (-buffers[i].size, buffers[i].start),
        lambda i: (-buffers[i].size * (buffers[i].end - buffers[i].start + 1), buffers[i].start),
        lambda i: (buffers[i].start - buffers[i].end, -buffers[i].size),
        lambda i: (buffers[i].start, -buffers[i].size),
        lambda i: (-fullest[i], -buffers[i].size, buffers[i].start),
    ]
    return [sorted(range(len(buffers)), key=key) for key in keys]


def assign_offsets(buffers: Sequence[Buffer]) -> list[int]:
    """An offset for each buffer, so that buffers alive at once do not overlap.

    Greedy placement in several orders, then a local search that places what
    reaches the top earlier. Deterministic.
    """
    if not buffers:
        return []
    near, bound = _neighbours(buffers), lower_bound(buffers)
    best: list[int] | None = None
    best_order: list[int] = []
    for order in _orders(buffers):
        for fit in (_first_fit, _best_fit):
            found = _place(buffers, order, near, fit)
            if best is None or peak(buffers, found) < peak(buffers, best):
                best, best_order = found, order
    assert best is not None
    return best if peak(buffers, best) == bound else _search(buffers, best, best_order, near, bound)


def _search(
    buffers: Sequence[Buffer], best: list[int], order: list[int], near: Neighbours, bound: int
) -> list[int]:
    """Improves an order: a buffer at the top moves, or two change places; equal peaks are accepted."""
    choose = random.Random(0)
    reached = peak(buffers, best)
    current, current_offsets = order, best
    for _ in range(max(1, SEARCH // len(buffers))):
        if reached == bound:
            break
        trial = _moved(buffers, current, current_offsets, choose)
        offsets = _place(buffers, trial, near, _first_fit)
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
