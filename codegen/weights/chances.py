"""How likely a weight is to be zero, and which table it is coded by, told before it is known.

A tensor is gone through as taps of places, a place being a channel of a filter. Four things speak for a
weight that is not zero, and add up as a logit: how dense its filter is, its channel, and its tap, which
a stream says, and what the taps before held at the same place, which a decoder has seen. All of it looks at
finished taps alone, so that the places of a tap decode side by side. Everything is integers.

What is pruned by size has no small weights but zeros: none of a filter is smaller than a size that the
stream says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .bits import BitReader, golomb, pack
from .codec import require

Signed = NDArray[np.int64]
ONE = 16
"""A logit of 1."""
COARSE = 4
"""What the logits of filters, channels and taps are multiples of."""
MOST = 31
"""Of these multiples, in size; of the weights of what was seen, too."""
MOST_MISSING = 127
LONGEST = (2048, 2048, 512, 2048)
"""Filters, channels and taps, at most, that logits are given for, and filters for sizes; taps at most."""
SEEN_ONE = 16
CHANCES = np.array([
    1, 2, 2, 3, 4, 5, 6, 8, 10, 13, 17, 21, 27, 35, 45, 58,
    74, 94, 120, 153, 194, 246, 311, 391, 488, 606, 747, 912, 1102, 1314, 1546, 1793,
    2048, 2303, 2550, 2782, 2994, 3184, 3349, 3490, 3608, 3705, 3785, 3850, 3902, 3943, 3976, 4002,
    4022, 4038, 4051, 4061, 4069, 4075, 4079, 4083, 4086, 4088, 4090, 4091, 4092, 4093, 4094, 4094,
], np.int64)  # fmt: skip
"""In 4096ths, by a logit in quarters, from -8 on."""
_CLASSES = len(CHANCES)


@dataclass(frozen=True, eq=False)
class Offsets:
    """Logits of filters, channels and taps, in multiples of COARSE, and by how much each filter's sizes are
    larger than they are coded; zeros where a stream has none."""

    filters: Signed
    channels: Signed
    taps: Signed
    missing: Signed

    @property
    def each(self) -> tuple[Signed, ...]:
        return self.filters, self.channels, self.taps, self.missing

    @property
    def there(self) -> int:
        """A bit for each of the four that a stream has."""
        return sum(bool(part.any()) << place for place, part in enumerate(self.each))

    def written(self) -> bytes:
        """Of each that is there: the order of its code in three bits, then the numbers."""
        codes, lengths = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
        for part in self.each:
            if part.any():
                folded = part if part is self.missing else np.where(part > 0, 2 * part - 1, -2 * part)
                order = min(range(6), key=lambda k: int(golomb(folded, k)[1].sum()))
                own, bits = golomb(folded, order)
                codes += [np.array([order], np.uint32), own]
                lengths += [np.array([3]), bits]
        return pack(np.concatenate(codes), np.concatenate(lengths))


def read_offsets(data: bytes, there: int, extents: tuple[int, int, int]) -> tuple[Offsets, int]:
    """The offsets of a stream, and their bytes; StreamError where they are damaged."""
    reader, parts = BitReader(data), []
    for place, extent in enumerate((*extents, extents[0])):
        part = np.zeros(extent, np.int64)
        if there >> place & 1:
            require(extent <= LONGEST[place], "it has too many logits")
            order = reader.read(3)
            part[:] = [reader.golomb(order) for _ in range(extent)]
            require(int(part.max()) <= (2 * MOST if place < 3 else MOST_MISSING), "a logit is too large")
        parts.append(part if place == 3 else np.where(part & 1, (part + 1) // 2, -(part // 2)))
    return Offsets(*parts), reader.bytes


@dataclass(frozen=True)
class Sight:
    """What is seen of a weight: `flat` where it is not zero, and `steep` 16ths of its size, 127 at most.

    The mean of that of the taps before moves by 1 / 2**`pace` of the way a tap, from `mean` on. What it
    differs by counts `weight` in the logit.
    """

    flat: int = 0
    steep: int = 0
    mean: int = 0
    pace: int = 2
    weight: int = 0

    def of(self, values: Signed) -> Signed:
        size = np.abs(values)
        return np.where(values != 0, self.flat + np.minimum(size * self.steep >> 4, 127), 0)


@dataclass(frozen=True, eq=False)
class Sorting:
    """By which table a weight is coded: how many `limits` lie below a sum of its filter's and channel's
    logits and of what was seen, each times a weight."""

    filters: int
    channels: int
    seen: int
    limits: Signed


@dataclass(frozen=True, eq=False)
class Model:
    """All that a stream says of chances; `start` is the logit where nothing speaks."""

    start: int
    offsets: Offsets
    sight: Sight
    sorting: Sorting

    def walk(self, places: Signed) -> Walk:
        """At the first tap of places, each the number of a filter times channels, and its channel's."""
        filters = self.offsets.filters[places // len(self.offsets.channels)]
        channels = self.offsets.channels[places % len(self.offsets.channels)]
        return Walk(self, filters, channels)

    def missing(self, places: Signed) -> Signed:
        """By how much the sizes of places are larger than they are coded."""
        return self.offsets.missing[places // len(self.offsets.channels)]

    def with_sorting(self, sorting: Sorting) -> Model:
        return replace(self, sorting=sorting)


class Walk:
    """What is known of places, tap by tap."""

    def __init__(self, model: Model, filters: Signed, channels: Signed) -> None:
        self._model, self._tap = model, 0
        self._logit = model.start + COARSE * (filters + channels)
        self._sort = filters * model.sorting.filters + channels * model.sorting.channels
        self._mean = np.full(len(filters), model.sight.mean * SEEN_ONE, np.int64)
        self._sum = np.zeros(len(filters), np.int64)

    @property
    def seen(self) -> Signed:
        """What the mean differs by from what is expected."""
        return (self._mean - self._model.sight.mean * SEEN_ONE) >> 2

    @property
    def chances(self) -> Signed:
        """Of the places' weights at this tap to be other than zero, in 4096ths."""
        told = self._logit + COARSE * self._model.offsets.taps[self._tap]
        logit = told + (self.seen * self._model.sight.weight >> 7)
        found: Signed = CHANCES[np.clip((logit >> 2) + _CLASSES // 2, 0, _CLASSES - 1)]
        return found

    @property
    def tables(self) -> Signed:
        """The numbers of their tables."""
        sums = self._sort + (self.seen * self._model.sorting.seen >> 2)
        return np.searchsorted(self._model.sorting.limits, sums, side="left")

    @property
    def turned(self) -> NDArray[np.bool_]:
        """Where the taps before were negative more than positive: there signs are turned around."""
        return self._sum < 0

    def advance(self, values: Signed) -> None:
        """To the next tap, by this one's weights."""
        pace = self._model.sight.pace
        self._mean = self._mean + ((self._model.sight.of(values) * SEEN_ONE - self._mean) >> pace)
        self._sum = self._sum + ((values * SEEN_ONE - self._sum) >> pace)
        self._tap += 1
