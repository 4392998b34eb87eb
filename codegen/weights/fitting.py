"""The model of chances (`chances`) by which a pruned tensor takes the least: what an encoder looks for.

Filters, channels and taps get logits by Newton's steps, one kind after the other, drawn to zero as a bell
curve about zero would; then they are rounded. What is written costs bits, so that each kind is kept only
where it pays. How a tensor is gone through is judged by a sample of its filters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from .chances import COARSE, LONGEST, MOST, MOST_MISSING, ONE, Model, Offsets, Sight, Sorting
from .codec import Shape
from .orders import ACROSS, CHANNEL, DOWN, FILTER, Order, taps_of
from .tables import BITS, Table, best_folded

Signed = NDArray[np.int64]
Reals = NDArray[np.float64]
Kinds = tuple[bool, ...]

_SAMPLE = 1 << 14
_ROUNDS = 3
_PRIOR = 1.5
"""One over the square of a logit, as it is before anything is seen."""
_EACH = 3.0
"""Bits of a written logit, about."""
_SEEN_SCALE = 128 * ONE
_NONE = 999
_TABLES = (2, 4)
_ALL: Kinds = (True, True, True)


@dataclass(frozen=True, eq=False)
class Boxes:
    """A tensor as values [filters * channels, taps] in some order."""

    order: Order
    values: Signed
    filters: int
    channels: int

    @property
    def taps(self) -> int:
        return int(self.values.shape[1])

    @cached_property
    def there(self) -> Reals:
        found: Reals = (self.values != 0).astype(np.float64)
        return found

    def sample(self, most: int) -> Boxes:
        """Some filters, so many weights about."""
        step = max(1, self.values.size // most)
        some = self.values.reshape(self.filters, self.channels, -1)[::step]
        return Boxes(self.order, some.reshape(-1, self.taps), len(some), self.channels)


@dataclass(frozen=True, eq=False)
class Fit:
    """A tensor as it is coded: what is left of [places, taps], their chances and their tables' numbers."""

    order: Order
    model: Model
    rest: Signed
    chances: Signed
    sorted: Signed
    tables: tuple[Table, ...]

    @property
    def zero_bits(self) -> float:
        there = self.rest != 0
        likely = np.where(there, self.chances, (1 << BITS) - self.chances)
        return float((BITS - np.log2(likely)).sum())

    @property
    def bits(self) -> float:
        """Of what the lanes hold."""
        there = self.rest != 0
        kinds, values = self.sorted[there], self.rest[there] & 255
        seen = (np.bincount(values[kinds == n], minlength=256) for n in range(len(self.tables)))
        return self.zero_bits + sum(t.bits(s) for t, s in zip(self.tables, seen, strict=True))


def fit(values: NDArray[np.int8], shape: Shape) -> Fit:
    """The fit that takes the least of those tried; of at least one weight, one of which is not zero."""
    shape = tuple(extent for extent in shape if extent > 1) or (1,)
    data = values.astype(np.int64).reshape(shape)
    ways = [_arranged(data, order) for order in _orders(data != 0)]
    boxes = min(ways, key=_estimate)
    some = boxes.sample(_SAMPLE)
    sight = min(_sights(boxes), key=lambda own: _cost(some, _model(some, own, _ALL)))
    return _sorted(boxes, _model(boxes, sight, _best_kinds(boxes, sight)))


# Orders ---------------------------------------------------------------------------------------------


def _arranged(data: Signed, order: Order) -> Boxes:
    filters, channels, taps = order.axes(FILTER), order.axes(CHANNEL), order.axes(DOWN, ACROSS)
    counts = [math.prod(order.shape[axis] for axis in axes) for axes in (filters, channels)]
    moved = data.transpose([*filters, *channels, *taps])
    return Boxes(order, np.ascontiguousarray(moved).reshape(counts[0] * counts[1], -1), *counts)


def _orders(there: NDArray[np.bool_]) -> Iterator[Order]:
    """For each choice of taps the best one of filters and channels."""
    known = taps_of(there.shape)
    singles = [next(iter(taps)) for taps in known if len(taps) == 1]
    known += [{down: DOWN, across: ACROSS} for down, across in combinations(singles, 2)]
    ends = ({0: ACROSS}, {there.ndim - 1: ACROSS}) if there.ndim > 1 else ()
    known += [taps for taps in ends if taps not in known]
    for taps in known:
        others = [axis for axis in range(there.ndim) if axis not in taps]
        if math.prod(there.shape[axis] for axis in taps) <= LONGEST[2]:
            for parts in _splits(there.sum(axis=tuple(taps)), there.size):
                kinds = dict(zip(others, parts, strict=True)) | taps
                yield Order(there.shape, tuple(kinds[axis] for axis in range(there.ndim)))


def _splits(counts: Signed, size: int) -> list[tuple[int, ...]]:
    """Which axes are filters and which channels, that tell the most of how many weights are not zero."""
    ways = [(FILTER, *rest) for rest in product((FILTER, CHANNEL), repeat=max(counts.ndim - 1, 0))]
    best = max(ways, key=lambda kinds: _told(counts, kinds, size)) if counts.ndim else ()
    return [best, tuple(CHANNEL - kind for kind in best)] if best else [best]


def _told(counts: Signed, kinds: tuple[int, ...], size: int) -> float:
    """Bits that logits save, about."""
    saved = 0.0
    for kind in (FILTER, CHANNEL):
        others = tuple(axis for axis, own in enumerate(kinds) if own != kind)
        cells = counts.sum(axis=others).reshape(-1).astype(np.float64)
        saved -= float(_entropy(cells, size / len(cells)).sum()) + _EACH * len(cells)
    return saved


def _entropy(ones: Reals, of: float) -> Reals:
    share = np.clip(ones / of, 1e-9, 1 - 1e-9)
    found: Reals = -of * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    return found


# Logits ---------------------------------------------------------------------------------------------


def _estimate(boxes: Boxes) -> float:
    """Bits of a weight, about, judged by a sample."""
    some = boxes.sample(_SAMPLE)
    *_, sight = _sights(some)
    zeros = _cost(some, _model(some, sight, _ALL)) / some.values.size
    return zeros + _value_bits(boxes) / boxes.values.size


def _sights(boxes: Boxes) -> Iterator[Sight]:
    if boxes.taps == 1:
        yield Sight()
        return
    size = float(np.abs(boxes.values).sum() / max(np.count_nonzero(boxes.values), 1))
    steep = min(max(round(64 * 16 / size), 1), 255)
    for flat, own, pace in ((96, 0, 2), (24, steep, 2), (24, steep, 3)):
        sight = Sight(flat, own, 0, pace)
        yield replace(sight, mean=round(float(sight.of(boxes.values).mean())))


def _cost(boxes: Boxes, model: Model) -> float:
    """Bits of what is zero, and of the logits."""
    return _walked(boxes, model).zero_bits + 8 * len(model.offsets.written())


def _best_kinds(boxes: Boxes, sight: Sight) -> Kinds:
    """Which logits are worth their bits."""
    some = boxes.sample(_SAMPLE)
    scale = boxes.values.size / some.values.size
    extents = boxes.filters, boxes.channels, boxes.taps
    may = (1 < extent <= longest for extent, longest in zip(extents, LONGEST, strict=False))
    ways = product(*((False, True) if there else (False,) for there in may))

    def bits(kinds: Kinds) -> float:
        model = _model(some, sight, kinds)
        written = 8 * len(model.offsets.written())
        return _walked(some, model).zero_bits * scale + written * (scale if kinds[0] else 1)

    return min(ways, key=bits)


def _model(boxes: Boxes, sight: Sight, kinds: Kinds) -> Model:
    """Logits and the weight of what is seen, rounded; all of one table."""
    seen = _seen(boxes, sight)
    logits = _Logits(boxes, seen, kinds)
    for _ in range(_ROUNDS):
        logits.improve()
    weight = int(np.clip(round(logits.weight * _SEEN_SCALE), -MOST, MOST))
    filters, channels, taps = (_rounded(part) for part in logits.parts)
    offsets = Offsets(filters, channels, taps, np.zeros(boxes.filters, np.int64))
    start = int(np.clip(round(logits.start * ONE), -128, 127))
    return Model(start, offsets, replace(sight, weight=weight), Sorting(0, 0, 0, np.zeros(0, np.int64)))


def _rounded(logits: Reals) -> Signed:
    found: Signed = np.clip(np.round(logits * (ONE // COARSE)), -MOST, MOST).astype(np.int64)
    return found


def _seen(boxes: Boxes, sight: Sight) -> Signed:
    """What was seen before each weight, [places, taps]."""
    zeros = np.zeros(1, np.int64)
    model = Model(0, Offsets(zeros, zeros, zeros, zeros), sight, Sorting(0, 0, 0, zeros[:0]))
    walk = model.walk(np.zeros(len(boxes.values), np.int64))
    seen = np.empty_like(boxes.values)
    for tap in range(boxes.taps):
        seen[:, tap] = walk.seen
        walk.advance(boxes.values[:, tap])
    return seen


class _Logits:
    """Newton's steps for one kind of logits after the other."""

    def __init__(self, boxes: Boxes, seen: Signed, kinds: Kinds) -> None:
        shape = boxes.filters, boxes.channels, boxes.taps
        self._there = boxes.there.reshape(shape)
        self._seen = seen.astype(np.float64).reshape(shape)
        self._kinds = kinds
        share = np.clip(self._there.mean(), 1e-3, 1 - 1e-3)
        self.start, self.weight = float(np.log(share / (1 - share))), 0.0
        self.parts = tuple(np.zeros(extent) for extent in shape)

    def improve(self) -> None:
        for axis, (part, kind) in enumerate(zip(self.parts, self._kinds, strict=True)):
            if kind:
                others = tuple(other for other in range(3) if other != axis)
                lack, curve = self._lack()
                part += (lack.sum(axis=others) - _PRIOR * part) / (curve.sum(axis=others) + _PRIOR)
        lack, curve = self._lack()
        self.start += float(lack.sum() / (curve.sum() + 1))
        if self._seen.any():
            lack, curve = self._lack()
            steep = float((curve * self._seen**2).sum())
            self.weight += float((lack * self._seen).sum()) / (steep + 1)

    def _lack(self) -> tuple[Reals, Reals]:
        """What chances lack to what is there, and how fast they rise."""
        filters, channels, taps = self.parts
        told = self.start + filters[:, None, None] + channels[:, None] + taps
        share = 1 / (1 + np.exp(-np.clip(told + self.weight * self._seen, -30, 30)))
        return self._there - share, share * (1 - share)


# Tables ---------------------------------------------------------------------------------------------


def _value_bits(boxes: Boxes) -> float:
    """Of what is not zero, about, told from those of other orders: sizes fall off as geometric series do."""
    size = np.abs(boxes.values[boxes.values != 0]).astype(np.float64)
    counts = np.count_nonzero(boxes.values.reshape(boxes.filters, -1), axis=1)
    above = size - 1 - np.repeat(_missing(boxes), counts)
    return len(size) * float(np.log2(min(size.mean(), above.mean() + 1)))


def _missing(boxes: Boxes) -> Signed:
    """How many sizes from 1 on no weight of a filter has; 0 of one that is empty, or where it is not told."""
    if boxes.filters > LONGEST[3]:
        return np.zeros(boxes.filters, np.int64)
    sizes = np.abs(boxes.values.reshape(boxes.filters, -1))
    least = np.where(sizes > 0, sizes, _NONE).min(axis=1)
    return np.where(least < _NONE, np.minimum(least - 1, MOST_MISSING), 0)


def _walked(boxes: Boxes, model: Model) -> Fit:
    """Every place tap by tap, without tables."""
    walk = model.walk(np.arange(len(boxes.values)))
    missing = model.missing(np.arange(len(boxes.values)))
    rest, chances, tables = (np.empty_like(boxes.values) for _ in range(3))
    for tap in range(boxes.taps):
        own = boxes.values[:, tap]
        chances[:, tap], tables[:, tap] = walk.chances, walk.tables
        above = own - np.sign(own) * missing
        rest[:, tap] = np.where(walk.turned, -above, above)
        walk.advance(own)
    return Fit(boxes.order, model, rest, chances, tables, ())


def _sorted(boxes: Boxes, model: Model) -> Fit:
    """With what is missing of sizes where that pays, then with as many tables as pay."""
    told = replace(model, offsets=replace(model.offsets, missing=_missing(boxes)))
    ways = [model, told] if told.offsets.missing.any() else [model]
    best = min((_with_tables(_walked(boxes, way)) for way in ways), key=_size)
    more = (best.model.with_sorting(sorting) for sorting in _sortings(boxes, best.model))
    return min((best, *(_with_tables(_walked(boxes, way)) for way in more)), key=_size)


def _size(found: Fit) -> float:
    heads = sum(len(table.written) for table in found.tables)
    heads += len(found.model.offsets.written())
    return found.bits + 8 * (heads + 2 * len(found.tables) + (3 if len(found.tables) > 1 else 0))


def _with_tables(found: Fit) -> Fit:
    """Unused tables go to the one before."""
    there = found.rest != 0
    kinds, values = found.sorted[there], found.rest[there] & 255
    seen = [
        np.bincount(values[kinds == n], minlength=256) for n in range(len(found.model.sorting.limits) + 1)
    ]
    whole = np.sum(seen, axis=0)
    return replace(found, tables=tuple(best_folded(own if own.any() else whole) for own in seen))


def _sortings(boxes: Boxes, model: Model) -> Iterator[Sorting]:
    """Sums that foretell sizes, by least squares, and limits that part them into equal shares."""
    place, tap = np.nonzero(boxes.values)
    seen = _seen(boxes, model.sight)[place, tap]
    told = model.offsets.filters[place // boxes.channels], model.offsets.channels[place % boxes.channels]
    given = np.stack([*told, seen / 4], 1).astype(np.float64)
    size = np.abs(boxes.values[place, tap]) - model.missing(place).astype(np.float64)
    given_mean = given - given.mean(axis=0)
    exact = np.linalg.solve(given_mean.T @ given_mean + np.eye(3), given_mean.T @ (size - size.mean()))
    if not exact.any():
        return
    largest = np.array([127, 127, MOST]) / np.maximum(np.abs(exact), 1e-9)
    filters, channels, own = (int(v) for v in np.round(exact * largest.min()))
    sums = np.sort(told[0] * filters + told[1] * channels + (seen * own >> 2))
    for tables in _TABLES:
        limits = np.unique(sums[[len(sums) * n // tables for n in range(1, tables)]])
        limits = limits[limits < sums[-1]]
        if len(limits):
            yield Sorting(filters, channels, own, limits)
