"""Least time under a limit on the sum of tolls: labels of time and toll, the undominated ones of each state.

A label is a course to a state; another to the same state with no more time and
no more toll makes it useless. So do bounds on what is still to come: the least
toll, the least time, and the least of time plus toll at a price. The price is
that of the Lagrangian relaxation, whose courses also give the time to beat
(Handler and Zang 1980; Dumitrescu and Boland 2003).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .dominance import undominated
from .sweeps import TIES, Course, backward, course, fastest, priced
from .trellis import Floats, Ints, Layer, Mask, NoCourseError, Trellis, ranges

MOST_LABELS = 1_000_000  # made at one step
STEPS = 1024  # of the toll's limit, where there are too many labels


class TooManyLabelsError(ValueError):
    """A step makes more labels than the caller allows."""


@dataclass(frozen=True)
class Answer:
    """The course found; no course within the limit takes less than `bound` seconds.

    `resolution` is 0 where toll was summed as it is, else what it was rounded to multiples of.
    """

    course: Course
    bound: float
    resolution: float = 0.0


def least_toll(trellis: Trellis) -> Course:
    """The course of least toll."""
    return course(trellis, fastest(_of_toll(trellis)).edges)


def _of_toll(trellis: Trellis) -> Trellis:
    return replace(trellis, layers=tuple(replace(x, seconds=x.toll) for x in trellis.layers))


def within_toll(trellis: Trellis, limit: float, most: int = MOST_LABELS) -> Answer:
    """The fastest course whose toll sums to at most `limit`; NoCourseError where there is none.

    Where a step makes more than `most` labels, toll is rounded to 1/1024 of the limit: up for the course,
    which therefore keeps the limit, and down for the bound.
    """
    found, price = _relaxed(trellis, limit)
    if not price:
        return Answer(found, found.seconds)
    try:
        best = _search(trellis, limit, price, found.seconds, most if limit else None)
    except TooManyLabelsError:
        return _rounded(trellis, limit, price, found)
    best = best or found
    return Answer(best, best.seconds)


def _rounded(trellis: Trellis, limit: float, price: float, found: Course) -> Answer:
    """The answer with toll on a grid; each state then has at most `STEPS` + 1 labels."""
    step = limit / STEPS
    up, down = (_on_grid(trellis, step, towards) for towards in (np.ceil, np.floor))
    best = _search(up, limit, price, found.seconds)
    below = _search(down, limit, price, found.seconds)
    best = found if best is None else course(trellis, best.edges)
    return Answer(best, below.seconds if below else found.seconds, step)


def _on_grid(trellis: Trellis, step: float, towards: Callable[[Floats], Floats]) -> Trellis:
    layers = (replace(x, toll=towards(x.toll / step) * step) for x in trellis.layers)
    return replace(trellis, layers=tuple(layers))


def _relaxed(trellis: Trellis, limit: float) -> tuple[Course, float]:
    """The best course within the limit that a price of toll gives, and the price with the highest bound.

    The price is 0 where the fastest course keeps the limit.
    """
    fast, slow = fastest(trellis), least_toll(trellis)
    if slow.toll > limit * (1 + TIES):
        raise NoCourseError(f"no plan has less toll than {slow.toll:g}")
    if fast.toll <= limit:
        return fast, 0.0
    while True:
        price = (slow.seconds - fast.seconds) / (fast.toll - slow.toll)
        between = fastest(trellis, price=price)
        if _total(between, price) >= _total(fast, price) * (1 - TIES):
            return slow, price
        fast, slow = (fast, between) if between.toll <= limit else (between, slow)


def _total(found: Course, price: float) -> float:
    return found.seconds + price * found.toll


# Labels --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Labels:
    """Labels sorted by state; `parent` numbers the labels one layer before, `edge` the layer's edges."""

    state: Ints
    seconds: Floats
    toll: Floats
    parent: Ints
    edge: Ints

    def chosen(self, which: Mask | Ints) -> _Labels:
        state, parent, edge = (row[which] for row in (self.state, self.parent, self.edge))
        return _Labels(state, self.seconds[which], self.toll[which], parent, edge)


def _search(
    trellis: Trellis, limit: float, price: float, beat: float, most: int | None = None
) -> Course | None:
    """The fastest course within the limit that takes less than `beat` seconds, None where there is none."""
    to_come = zip(
        backward(trellis)[1:],
        backward(_of_toll(trellis))[1:],
        backward(priced(trellis, price))[1:],
        strict=True,
    )
    start = np.zeros(1, np.int64)
    labels = [_Labels(start, np.zeros(1), np.zeros(1), start, start)]
    for layer, (seconds, toll, both) in zip(trellis.layers, to_come, strict=True):
        made = _extended(layer, labels[-1], most)
        good = made.seconds + seconds[made.state] < beat * (1 - TIES)
        good &= made.toll + toll[made.state] <= limit * (1 + TIES)
        total = made.seconds + price * (made.toll - limit) + both[made.state]
        good &= total < beat * (1 - TIES)
        made = made.chosen(good)
        labels.append(made.chosen(undominated(made.state, made.seconds, made.toll)))
    return _traced(trellis, labels) if len(labels[-1].state) else None


def _extended(layer: Layer, labels: _Labels, most: int | None) -> _Labels:
    """Every label followed along every edge."""
    states = np.arange(layer.source.max(initial=0) + 2)
    starts = np.searchsorted(labels.state, states)
    counts = np.diff(starts)[layer.source]
    if most is not None and counts.sum() > most:
        raise TooManyLabelsError(f"{counts.sum()} labels")
    parent = ranges(starts[layer.source], counts)
    edge = np.repeat(np.arange(len(layer.source)), counts)
    seconds = labels.seconds[parent] + layer.seconds[edge]
    return _Labels(layer.target[edge], seconds, labels.toll[parent] + layer.toll[edge], parent, edge)


def _traced(trellis: Trellis, labels: list[_Labels]) -> Course:
    """The course of the fastest label at the end."""
    edges, at = [], int(labels[-1].seconds.argmin())
    for layer in reversed(labels[1:]):
        edges.append(int(layer.edge[at]))
        at = int(layer.parent[at])
    return course(trellis, edges[::-1])
