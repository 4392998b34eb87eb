"""Courses of a trellis under limits on memory, time and toll together.

The least seconds only change at limits on memory that some edge needs, and fall
as the limit rises: so least memory is a search among those limits by halving,
and the frontier a division of them at every fall.
"""

from __future__ import annotations

import numpy as np

from .frontier import frontier
from .labels import Answer, within_toll
from .sweeps import TIES, fastest, least_peak, within_bytes
from .trellis import NoCourseError, Trellis


def fastest_within(trellis: Trellis, memory: int | None = None, toll: float | None = None) -> Answer:
    """The least seconds with at most `memory` bytes and `toll`; NoCourseError where nothing meets them."""
    if memory is not None:
        trellis = within_bytes(trellis, memory)
    if toll is not None:
        return within_toll(trellis, toll)
    best = fastest(trellis)
    return Answer(best, best.seconds)


def smallest_within(trellis: Trellis, seconds: float | None = None, toll: float | None = None) -> Answer:
    """The least memory with at most `seconds` and `toll`, and of that memory the fastest.

    NoCourseError where nothing meets the limits. Where toll is rounded, more memory than needed may be
    found.
    """
    search = _Search(trellis, toll)
    low, high = 0, len(search.limits) - 1
    if search.seconds(low) <= _ceiling(seconds):
        return search.answer(low)
    if search.seconds(high) > _ceiling(seconds):
        raise NoCourseError("nothing is as fast")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if search.seconds(middle) <= _ceiling(seconds) else (middle + 1, high)
    return search.answer(low)


def _ceiling(seconds: float | None) -> float:
    return np.finfo(np.float64).max if seconds is None else seconds * (1 + TIES)


def frontier_within(trellis: Trellis, toll: float | None = None) -> list[Answer]:
    """Every undominated pair of peak and seconds with at most `toll`, by rising peak."""
    if toll is None:
        return [Answer(found, found.seconds) for found in frontier(trellis)]
    search = _Search(trellis, toll)
    gaps = [(0, len(search.limits) - 1)]
    while gaps := [(a, b) for a, b in gaps if search.falls(a, b) and b - a > 1]:
        gaps = [part for a, b in gaps for part in ((a, (a + b) // 2), ((a + b) // 2, b))]
        for a, _ in gaps:
            search.seconds(a)
    return search.steps()


class _Search:
    """Answers at limits on memory, by number, each found once; None where nothing meets the limits."""

    def __init__(self, trellis: Trellis, toll: float | None) -> None:
        self.trellis, self.toll = trellis, toll
        needs = np.unique(np.concatenate([layer.need for layer in trellis.layers]))
        self.limits: list[int] = needs[needs >= least_peak(trellis)].tolist()
        self._known: dict[int, Answer | None] = {}

    def seconds(self, number: int) -> float:
        """Least seconds at a limit, infinite where there is no course."""
        if number not in self._known:
            try:
                self._known[number] = fastest_within(self.trellis, self.limits[number], self.toll)
            except NoCourseError:
                self._known[number] = None
        known = self._known[number]
        return np.inf if known is None else known.course.seconds

    def answer(self, number: int) -> Answer:
        self.seconds(number)
        known = self._known[number]
        assert known is not None, "asked only where there is a course"
        return known

    def falls(self, low: int, high: int) -> bool:
        """Whether seconds fall between two limits."""
        first, last = self.seconds(low), self.seconds(high)
        return last < (first if first == np.inf else first * (1 - TIES))

    def steps(self) -> list[Answer]:
        """The answers where seconds fall; NoCourseError where there is no answer at all."""
        found: list[Answer] = []
        for number in sorted(self._known):
            known = self._known[number]
            if known and (not found or known.course.seconds < found[-1].course.seconds * (1 - TIES)):
                found.append(known)
        if not found:
            raise NoCourseError("nothing has as little toll")
        return found
