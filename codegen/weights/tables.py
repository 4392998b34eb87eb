"""Tables of how often each byte occurs, in parts of 4096, and their short forms in a stream.

Bytes are taken as signed numbers. A table is either written out, or a curve of two parameters: each count is
the last one times a ratio, which itself changes by a constant share. That spans Laplace's distribution (the
ratio stays), Gauss's (it falls) and heavier tails (it rises), in integers, so that all decoders
have the same. Where zeros are told apart, a curve may begin at the smallest size that there is, and numbers
of one sign may have more than half of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .bits import BitReader, Codes, golomb, pack
from .codec import require
from .prefix import zero_runs

BITS = 12
TOTAL = 1 << BITS

Counts = NDArray[np.int64]
_RATIO_ONE = 1 << 16
_PEAK = 1 << 30
_CURVE, _WRITTEN, _FOLDED = 0, 1, 2
_SIZES = np.abs(((np.arange(256) + 128) & 255) - 128)
_CURVES = np.array([(a, b) for a in range(0, 192, 2) for b in range(-80, 100)], np.int64)


def steepness(code: int) -> int:
    """What the ratio of zero's neighbours to it lacks to 1, in 65536ths: a byte as a small float."""
    return (16 + (code & 15)) << (code >> 4)


def bend(code: int) -> int:
    """By what share of itself, in 65536ths, the ratio changes from one number to the next."""
    size = abs(code)
    return (1 if code > 0 else -1) * ((8 + (size & 7)) << (size >> 3)) if code else 0


def curve(steep: int, bent: int, limit: int) -> Counts:
    """Counts by byte, TOTAL in sum, none of a number past `limit` in size (128 takes in -128 alone)."""
    heights, last = _heights(steep, bent, limit), min(limit, 127)
    weights = np.zeros(256, np.int64)
    for value in range(-limit, last + 1):
        weights[value & 255] = heights[abs(value)]
    entries = limit + last + 1
    counts = np.where(weights > 0, weights, 0) * (TOTAL - entries) // int(weights.sum())
    counts[[v & 255 for v in range(-limit, last + 1)]] += 1
    counts[0] += TOTAL - int(counts.sum())
    return counts


def _heights(steep: int, bent: int, last: int) -> list[int]:
    heights, height, ratio, change = [_PEAK], _PEAK, max(_RATIO_ONE - steepness(steep), 0), bend(bent)
    for _ in range(last):
        height = height * ratio >> 16
        ratio = min(max(ratio - (ratio * change >> 16), 0), _RATIO_ONE)
        heights.append(height)
    return heights


def folded(steep: int, bent: int, limit: int, least: int, lean: int) -> Counts:
    """Counts by byte, TOTAL in sum, of numbers whose sizes go from `least` to `limit` (128 is -128 alone).

    `lean` 256ths of a height are those of the positive number.
    """
    weights = np.zeros(256, np.int64)
    for size, height in enumerate(_heights(steep, bent, limit - least), least):
        weights[-size & 255] = height * (256 - lean) + 256
        if size < 128:
            weights[size] = height * lean + 256
    entries = int(np.count_nonzero(weights))
    counts = weights * (TOTAL - entries) // int(weights.sum()) + (weights > 0)
    counts[least] += TOTAL - int(counts.sum())
    return counts


@cache
def _bits_by_curve() -> NDArray[np.float32]:
    """Bits of a number of each size, 0 to 128, by each row of _CURVES: no more than a guide to the best."""
    ratio = np.maximum(1 - np.array([steepness(int(a)) for a in _CURVES[:, 0]]) / _RATIO_ONE, 0)
    change = np.array([bend(int(b)) for b in _CURVES[:, 1]]) / _RATIO_ONE
    heights = np.empty((len(_CURVES), 129))
    heights[:, 0] = 1
    for size in range(1, 129):
        heights[:, size] = heights[:, size - 1] * ratio
        ratio = np.clip(ratio - ratio * change, 0, 1)
    shares = heights / (2 * heights.sum(axis=1, keepdims=True) - 1) + 1e-4
    bits: NDArray[np.float32] = (-np.log2(shares)).astype(np.float32)
    return bits


@cache
def _bits_in_all() -> NDArray[np.float32]:
    """By each row of _CURVES, of the numbers from zero up to each size, of one sign."""
    shares = np.cumsum(np.exp2(-_bits_by_curve().astype(np.float64)), axis=1)
    bits: NDArray[np.float32] = np.log2(shares).astype(np.float32)
    return bits


@dataclass(frozen=True, eq=False)
class Table:
    """Counts by byte, TOTAL in sum, and how a stream holds them."""

    counts: Counts
    written: bytes

    @property
    def starts(self) -> Counts:
        """For each byte the sum of the counts before it."""
        return np.cumsum(self.counts) - self.counts

    def bits(self, seen: Counts) -> float:
        """Of bytes that occur as often as `seen`, by this table."""
        there = seen > 0
        return float((seen[there] * (BITS - np.log2(self.counts[there]))).sum())


def best_table(seen: Counts) -> Table:
    """The table by which bytes, of which there is at least one, and the table itself take the least."""
    return min((_fitted(seen), _written(seen)), key=lambda table: table.bits(seen) + 8 * len(table.written))


def _written(seen: Counts) -> Table:
    """Written out."""
    counts = _scaled(seen)
    order = min(range(6), key=lambda k: int(_codes(counts, k)[1].sum()))
    return Table(counts, bytes([_WRITTEN]) + pack(*_codes(counts, order)))


def _fitted(seen: Counts) -> Table:
    """The curve nearest to counts."""
    sizes = np.bincount(_SIZES, weights=seen, minlength=129)
    steep, bent = (int(v) for v in _CURVES[int(np.argmin(_bits_by_curve() @ sizes.astype(np.float32)))])
    limit = int(np.flatnonzero(sizes)[-1])
    return Table(curve(steep, bent, limit), bytes([_CURVE, steep, bent & 255, limit]))


def best_folded(seen: Counts) -> Table:
    """The table by which numbers other than zero, of which there is at least one, take the least with it."""
    sizes = np.bincount(_SIZES, weights=seen, minlength=129)
    least, limit = (int(np.flatnonzero(sizes)[place]) for place in (0, -1))
    some = sizes[least : limit + 1].astype(np.float32)
    bits = _bits_by_curve()[:, : len(some)]
    spent = bits @ some + _bits_in_all()[:, len(some) - 1] * some.sum()
    steep, bent = (int(v) for v in _CURVES[int(np.argmin(spent))])
    lean = min(max(round(256 * float(seen[1:128].sum()) / float(seen.sum())), 1), 255)
    counts = folded(steep, bent, limit, least, lean)
    found = Table(counts, bytes([_FOLDED, steep, bent & 255, limit, least, lean]))
    return min((found, _written(seen)), key=lambda table: table.bits(seen) + 8 * len(table.written))


def _scaled(seen: Counts) -> Counts:
    """Counts of TOTAL in sum, 1 at least where there is any."""
    counts = np.where(seen > 0, np.maximum(seen * TOTAL // int(seen.sum()), 1), 0)
    while excess := int(counts.sum()) - TOTAL:
        large = int(np.argmax(counts))
        counts[large] -= min(excess, max(int(counts[large]) // 2, 1))
    return counts


def _codes(counts: Counts, order: int) -> tuple[Codes, NDArray[np.int64]]:
    """A table in the order of signed numbers; a 0 is followed by how many more there are."""
    values, runs = zero_runs(np.roll(counts, 128))
    codes, bits = golomb(values, order)
    more, taken = golomb(runs, 0)
    pairs = np.stack([codes, more], 1).reshape(-1)
    lengths = np.stack([bits, np.where(values == 0, taken, 0)], 1).reshape(-1)
    return np.concatenate([[np.uint32(order)], pairs]), np.concatenate([[3], lengths])


def read_table(data: bytes) -> tuple[Counts, int]:
    """The counts of a table in a stream, and its length; StreamError where it is none."""
    require(len(data) >= 4, "a table is cut short")
    if data[0] == _WRITTEN:
        reader = BitReader(data[1:])
        counts = _read(reader)
        return counts, 1 + reader.bytes
    steep, bent, limit = data[1], (data[2] ^ 128) - 128, data[3]
    require(data[0] in (_CURVE, _FOLDED) and steep < 192 and -80 <= bent < 100, "a table is of no kind")
    require(limit <= 128, "a table is of no kind")
    if data[0] == _CURVE:
        return curve(steep, bent, limit), 4
    require(len(data) >= 6 and 0 < data[4] <= limit and data[5] > 0, "a table is of no kind")
    return folded(steep, bent, limit, data[4], data[5]), 6


def _read(reader: BitReader) -> Counts:
    signed, at, order = np.zeros(256, np.int64), 0, reader.read(3)
    while at < 256:
        signed[at] = reader.golomb(order)
        at += 1 if signed[at] else reader.golomb(0) + 1
    require(at == 256 and int(signed.sum()) == TOTAL, "a table does not add up")
    return np.roll(signed, -128)
