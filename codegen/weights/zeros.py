"""Zeros told from the rest, by what filters, channels and the taps before say; then what is not zero.

For pruned weights: whether a weight is zero takes no table, only a chance, which may be another for each
weight. What is not zero, a fifth perhaps, is a symbol by one of up to four tables. Taps of places are rows:
first what is zero, of all its places, then the others' values, by the same lanes (`lanes`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .chances import LONGEST, MOST, Model, Sight, Sorting, read_offsets
from .codec import Bytes, Codec, Shape, require
from .fitting import Fit, fit
from .lanes import MOST_LANES, Reader, Tables, encode, lanes_for, padded
from .orders import ACROSS, CHANNEL, DOWN, FILTER, MOST_AXES, Order, read_order
from .planes import PLACES, is_noise
from .tables import TOTAL, read_table

_FEWEST_ZEROS = 0.2
"""Of the weights, or other codecs take less."""

_EIGHT, _MANY = 8, 4096
Signed = NDArray[np.int64]


class Zeros(Codec):
    """Payload: an order, the power of two that lanes are, a byte of what is there (tables less one, which
    logits and sizes, the pace less one), the first logit; with taps the sight; with several tables the
    sorting; the logits and sizes, the tables, the lanes' states and words."""

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        found = _fit_of(data.tobytes(), shape) if _pruned(data, shape) else None
        return None if found is None else _head(found) + _rows(found)

    def decode(self, payload: bytes, count: int) -> Bytes:
        return _decode(payload, count)

    def size(self, data: Bytes, shape: Shape) -> int | None:
        found = _fit_of(data.tobytes(), shape) if _pruned(data, shape) else None
        return None if found is None else len(_head(found)) + 3 * _lanes(len(data)) + int(found.bits / 8)


def _pruned(data: Bytes, shape: Shape) -> bool:
    there = int(np.count_nonzero(data))
    fits = sum(extent > 1 for extent in shape) <= MOST_AXES
    return fits and 0 < there <= (1 - _FEWEST_ZEROS) * len(data) and not is_noise(data)


@lru_cache(maxsize=1)
def _fit_of(content: bytes, shape: Shape) -> Fit:
    """A size is asked for before the stream is, so the last fit is kept."""
    return fit(np.frombuffer(content, np.uint8).view(np.int8), shape)


# Heads ----------------------------------------------------------------------------------------------


def _head(found: Fit) -> bytes:
    model, sight, sorting = found.model, found.model.sight, found.model.sorting
    several = len(sorting.limits) > 0
    taps = found.rest.shape[1] > 1
    what = len(sorting.limits) | model.offsets.there << 2 | (sight.pace - 1) << 6
    return b"".join([
        found.order.written(),
        bytes([_lanes(found.rest.size).bit_length() - 1, what, model.start & 255]),
        bytes([sight.flat, sight.steep, sight.mean, sight.weight & 255] if taps else []),
        bytes([sorting.filters & 255, sorting.channels & 255, sorting.seen & 255] if several else []),
        sorting.limits.astype("<i2").tobytes(),
        model.offsets.written(),
        *(table.written for table in found.tables),
    ])  # fmt: skip


class _Head:
    """What stands in front of the states."""

    def __init__(self, payload: bytes, count: int) -> None:
        self.order, at = read_order(payload, count)
        require(at + 3 <= len(payload) and 1 << payload[at] <= MOST_LANES, "its head is wrong")
        self.lanes, what, start = 1 << payload[at], payload[at + 1], _signed(payload[at + 2])
        self.extents = extents(self.order)
        require(self.extents[2] <= LONGEST[2], "its head is wrong")
        at += 3
        sight, at = self._sight(payload, at, what >> 6)
        sorting, at = self._sorting(payload, at, what & 3)
        offsets, taken = read_offsets(payload[at:], what >> 2 & 15, self.extents)
        self.model, at = Model(start, offsets, sight, sorting), at + taken
        counts = []
        for _ in range((what & 3) + 1):
            table, taken = read_table(payload[at:])
            counts.append(table)
            at += taken
        self.tables, self.end = Tables(np.stack(counts)), at

    def _sight(self, payload: bytes, at: int, pace: int) -> tuple[Sight, int]:
        if self.extents[2] == 1:
            return Sight(pace=pace + 1), at
        require(at + 4 <= len(payload), "its head is cut short")
        flat, steep, mean, weight = *payload[at : at + 3], _signed(payload[at + 3])
        require(flat < 128 and abs(weight) <= MOST, "its head is wrong")
        return Sight(flat, steep, mean, pace + 1, weight), at + 4

    def _sorting(self, payload: bytes, at: int, limits: int) -> tuple[Sorting, int]:
        if not limits:
            return Sorting(0, 0, 0, np.zeros(0, np.int64)), at
        end = at + 3 + 2 * limits
        require(end <= len(payload), "its head is cut short")
        filters, channels, seen = (_signed(byte) for byte in payload[at : at + 3])
        found = np.frombuffer(payload, "<i2", limits, at + 3).astype(np.int64)
        require(abs(seen) <= MOST and bool((np.diff(found) > 0).all()), "its limits are in no order")
        return Sorting(filters, channels, seen, found), end


def _lanes(count: int) -> int:
    """Eight where they cost little, so that vectors can be used."""
    return max(lanes_for(count), _EIGHT if count >= _MANY else 1)


def _signed(byte: int) -> int:
    return (byte ^ 128) - 128


def extents(order: Order) -> tuple[int, int, int]:
    """Filters, channels and taps."""
    found = np.ones(4, np.int64)
    for kind, extent in zip(order.kinds, order.shape, strict=True):
        found[kind] *= extent
    return int(found[FILTER]), int(found[CHANNEL]), int(found[DOWN] * found[ACROSS])


# Rows -----------------------------------------------------------------------------------------------


def _rows(found: Fit) -> bytes:
    """Some places of every tap, then the next ones."""
    lanes, rest, chances, tables = _lanes(found.rest.size), found.rest, found.chances, found.sorted
    counts, starts = (np.stack([getattr(t, name) for t in found.tables]) for name in ("counts", "starts"))
    steps: list[tuple[NDArray[np.integer], NDArray[np.integer]]] = []
    for begin in range(0, len(rest), PLACES):
        for tap in range(rest.shape[1]):
            part = slice(begin, begin + PLACES), tap
            there = rest[part] != 0
            chance, table, value = chances[part], tables[part][there], rest[part][there] & 255
            steps.append((np.where(there, chance, TOTAL - chance), np.where(there, 0, chance)))
            steps.append((counts[table, value], starts[table, value]))
    return encode(
        np.concatenate([padded(count, lanes, TOTAL) for count, _ in steps]),
        np.concatenate([padded(start, lanes, 0) for _, start in steps]),
    )


def _decode(payload: bytes, count: int) -> Bytes:
    head = _Head(payload, count)
    reader = Reader(payload[head.end :], head.lanes)
    filters, channels, taps = head.extents
    values = np.zeros((filters * channels, taps), np.int64)
    for begin in range(0, len(values), PLACES):
        part = values[begin : begin + PLACES]
        _fill(part, reader, head, np.arange(begin, begin + len(part)))
    reader.finish()
    return _laid(head.order, values)


def _fill(values: Signed, reader: Reader, head: _Head, places: Signed) -> None:
    """All taps of some places."""
    walk, missing = head.model.walk(places), head.model.missing(places)
    for tap in range(values.shape[1]):
        there = reader.flags(walk.chances)
        found = reader.row(head.tables, walk.tables[there]).view(np.int8).astype(np.int64)
        found += np.sign(found) * missing[there]
        turned = np.where(walk.turned[there], -found, found)
        values[there, tap] = (turned & 255).astype(np.uint8).view(np.int8)
        walk.advance(values[:, tap])


def _laid(order: Order, values: Signed) -> Bytes:
    """Places' taps as they lie in the tensor."""
    axes = order.axes(FILTER, CHANNEL, DOWN, ACROSS)
    boxes = values.reshape([order.shape[axis] for axis in axes]).transpose(np.argsort(axes))
    return (boxes & 255).astype(np.uint8).reshape(-1)
