"""Offsets for buffers in one arena: dynamic storage allocation, known beforehand.

Greedy placement in several orders, then a local search over orders. Both stop at
the bytes needed at any one operator: no arena can be smaller.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .arena import Buffer, live_bytes, lower_bound, peak
from .fit import Placement, best_fit, either_end, first_fit, placement_of

ROUNDS = 400  # of the local search, fewer where a round looks at many pairs
PAIRS = 2_000_000  # pairs of pieces that all rounds together look at

# Orders --------------------------------------------------------------------------------------------


def _orders(buffers: Sequence[Buffer]) -> Iterator[list[int]]:
    """Orders worth trying: by size, by area, by lifetime, by the fullest moment, by time.

    Of those that start together, large ones or those that live long come first.
    """
    alive = np.array(live_bytes(buffers))
    size, start, end = ([getattr(b, n) for b in buffers] for n in ("size", "start", "end"))
    fullest = [int(alive[first : last + 1].max()) for first, last in zip(start, end, strict=True)]
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda i: (-size[i], start[i]),
        lambda i: (-size[i] * (end[i] - start[i] + 1), start[i]),
        lambda i: (start[i] - end[i], -size[i]),
        lambda i: (start[i], -size[i]),
        lambda i: (-fullest[i], -size[i], start[i]),
        lambda i: (start[i], -end[i], -size[i]),
    ]
    return (sorted(range(len(buffers)), key=key) for key in keys)


def assign_offsets(buffers: Sequence[Buffer]) -> list[int]:
    """An offset for each buffer, so that pieces needed at once do not overlap.

    Greedy placement in several orders, then a local search over orders.
    Deterministic.
    """
    if not buffers:
        return []
    placement, bound = placement_of(buffers), lower_bound(buffers)
    reached, best, order = _greedy(placement, bound)
    return best if reached == bound else _search(placement, best, order, bound)


def _greedy(placement: Placement, bound: int) -> tuple[int, list[int], list[int]]:
    """The first of the smallest arenas, its offsets, and the order that leads there."""
    results = []
    for order in _orders(placement.buffers):
        for fit in (first_fit, best_fit, either_end):
            offsets = placement.place(order, fit, bound)
            results.append((peak(placement.buffers, offsets), offsets, order))
            if results[-1][0] == bound:
                return results[-1]
    return min(results, key=lambda result: result[0])


# Local search --------------------------------------------------------------------------------------


def _search(placement: Placement, best: list[int], order: list[int], bound: int) -> list[int]:
    """Improves an order: a buffer at the top moves, or two change places; equal peaks are accepted."""
    buffers, choose = placement.buffers, random.Random(0)
    reached = peak(buffers, best)
    current, current_offsets = order, best
    for _ in range(min(ROUNDS, PAIRS // max(1, placement.pairs))):
        if reached == bound:
            break
        trial = _moved(buffers, current, current_offsets, choose)
        offsets = placement.place(trial, first_fit, bound)
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
