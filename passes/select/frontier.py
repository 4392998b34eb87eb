"""The frontier between time and memory, put together from those of parts of the trellis.

The trellis is cut where few states are. Through a part, least seconds from a
state before it to one after it only change at limits that its own edges need, so
each part is swept for those alone. Two parts in a row are joined by the states
between them, and so on, until one table tells least seconds under every limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .sweeps import (
    TIES,
    Course,
    advanced,
    courses,
    fastest,
    forward,
    least_peak,
    traced,
    within_bytes,
    within_seconds,
)
from .trellis import Floats, Ints, Layer, Mask, Trellis

FEW = 4  # states at which the trellis is cut
_CHUNK = 1 << 20  # numbers in an array over columns and edges


def frontier(trellis: Trellis) -> list[Course]:
    """The courses that none beats in seconds or peak without losing in the other, by rising peak."""
    smallest, largest = least_peak(trellis), fastest(trellis).peak
    slowest = fastest(trellis, smallest).seconds
    trellis = within_seconds(within_bytes(trellis, largest), slowest)
    whole = _joined([Part(layers, entries, smallest) for layers, entries in _cut(trellis.layers)])
    limits = whole.table.limits
    ends = np.zeros(len(limits), np.int64)
    return courses(trellis, np.stack(whole.edges(limits, ends, ends), axis=1))


def _cut(layers: Sequence[Layer]) -> Iterator[tuple[Sequence[Layer], int]]:
    """Layers between two places with few states, and how many states are before them."""
    first, entries = 0, 1
    for i, layer in enumerate(layers):
        if layer.states <= FEW or i == len(layers) - 1:
            yield layers[first : i + 1], entries
            first, entries = i + 1, layer.states


@dataclass(frozen=True, eq=False)
class Table:
    """`seconds[i, a, b]`: least from state a before to state b after, from `limits[i]` bytes on."""

    limits: Ints
    seconds: Floats

    def numbers(self, limits: Ints) -> Ints:
        """The row for each of some limits, none of which is below the first."""
        found: Ints = np.searchsorted(self.limits, limits, side="right") - 1
        return found

    def at(self, limits: Ints) -> Floats:
        return self.seconds[self.numbers(limits)]

    @property
    def shortest(self) -> Table:
        """The same without the limits at which no seconds fall."""
        kept = np.concatenate([[True], _fall(self.seconds[:-1], self.seconds[1:])])
        return Table(self.limits[kept], self.seconds[kept])


def _fall(before: Floats, after: Floats) -> Mask:
    """In which rows some seconds fall from one table to the other."""
    return np.asarray((after < before * (1 - TIES)).any(axis=(1, 2)))


@dataclass(frozen=True, eq=False)
class Part:
    """A stretch of layers with so many states before it, under limits of at least `least` bytes."""

    layers: Sequence[Layer]
    entries: int
    least: int

    @cached_property
    def table(self) -> Table:
        """Between two limits of equal seconds there is no fall; between others the middle one is tried."""
        needs = np.concatenate([layer.need for layer in self.layers])
        limits = np.unique([self.least, *needs[needs > self.least]])
        numbers = np.unique([0, len(limits) - 1])
        found = Table(numbers, self._least_seconds(limits[numbers]))  # of numbers instead of limits
        while len(middles := _between(found)):
            numbers = np.concatenate([found.limits, middles])
            seconds = np.concatenate([found.seconds, self._least_seconds(limits[middles])])
            order = np.argsort(numbers)
            found = Table(numbers[order], seconds[order])
        return Table(limits[found.limits], found.seconds).shortest

    def _least_seconds(self, limits: Ints) -> Floats:
        """A table under each limit."""
        size = max(1, _CHUNK // max(len(layer.source) for layer in self.layers) // self.entries)
        parts = [limits[i : i + size] for i in range(0, len(limits), size)]
        return np.concatenate([self._swept(part) for part in parts])

    def _swept(self, limits: Ints) -> Floats:
        now = self._start(np.tile(np.arange(self.entries), len(limits)))
        each = np.repeat(limits, self.entries)
        for layer in self.layers:
            now = advanced(layer, now, each)
        return now.reshape(-1, len(limits), self.entries).transpose(1, 2, 0)

    def _start(self, states: Ints) -> Floats:
        """Nothing spent yet in the state of each column."""
        start = np.full((self.entries, len(states)), np.inf)
        start[states, np.arange(len(states))] = 0
        return start

    def edges(self, limits: Ints, before: Ints, after: Ints) -> list[Ints]:
        """The edge that the fastest course takes in each layer under each limit, between the states given."""
        asked = np.stack([self.table.numbers(limits), before, after])
        distinct, which = np.unique(asked, axis=1, return_inverse=True)
        size = max(1, 8 * _CHUNK // sum(layer.states for layer in self.layers))
        parts = [self._traced(*distinct[:, i : i + size]) for i in range(0, distinct.shape[1], size)]
        return [np.concatenate(edges)[which] for edges in zip(*parts, strict=True)]

    def _traced(self, rows: Ints, before: Ints, after: Ints) -> list[Ints]:
        limits = self.table.limits[rows]
        tables = forward(self.layers, self._start(before), limits)
        return traced(self.layers, tables, after, limits)


def _between(found: Table) -> Ints:
    """The middles of the gaps between numbers of limits over which seconds fall."""
    low, high = found.limits[:-1], found.limits[1:]
    open_ = (high - low > 1) & _fall(found.seconds[:-1], found.seconds[1:])
    return np.asarray((low[open_] + high[open_]) // 2)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two stretches, one after the other."""

    first: Stretch
    second: Stretch

    @cached_property
    def table(self) -> Table:
        limits = np.union1d(self.first.table.limits, self.second.table.limits)
        return Table(limits, self._through(limits).min(axis=2)).shortest

    def _through(self, limits: Ints) -> Floats:
        """Least seconds under each limit from each state before, over each between, to each after."""
        first, second = self.first.table.at(limits), self.second.table.at(limits)
        return first[:, :, :, None] + second[:, None, :, :]

    def edges(self, limits: Ints, before: Ints, after: Ints) -> list[Ints]:
        rows = np.arange(len(limits))
        between = self._through(limits)[rows, before, :, after].argmin(axis=1)
        return self.first.edges(limits, before, between) + self.second.edges(limits, between, after)


Stretch = Part | Pair


def _joined(stretches: Sequence[Stretch]) -> Stretch:
    """All stretches in a balanced tree of pairs."""
    if len(stretches) == 1:
        return stretches[0]
    half = len(stretches) // 2
    return Pair(_joined(stretches[:half]), _joined(stretches[half:]))
