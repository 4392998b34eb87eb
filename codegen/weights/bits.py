"""Bits in bytes, the first in the lowest place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .codec import Bytes, require

Codes = NDArray[np.uint32]


def pack(codes: Codes, lengths: NDArray[np.integer]) -> bytes:
    """`codes`, each in as many bits as `lengths` says (32 at most), lowest bit first, one after another."""
    if not len(codes):
        return b""
    ends = np.cumsum(lengths, dtype=np.int64)
    bits = np.zeros(int(ends[-1]), np.uint8)
    for place in range(int(lengths.max())):
        there = lengths > place
        bits[(ends - lengths)[there] + place] = (codes[there] >> np.uint32(place)) & 1
    return np.packbits(bits, bitorder="little").tobytes()


def pack_fixed(values: NDArray[np.integer] | NDArray[np.bool_], width: int) -> bytes:
    """Values of `width` bits each."""
    return pack(values.astype(np.uint32), np.full(len(values), width, np.int64))


def unpack_fixed(data: bytes, count: int, width: int) -> Codes:
    """As many values of `width` bits each; StreamError where there are not."""
    require(len(data) * 8 >= count * width, "bits are missing")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * width, bitorder="little")
    places = np.uint32(1) << np.arange(width, dtype=np.uint32)
    values: Codes = (bits.reshape(count, width) * places).sum(axis=1, dtype=np.uint32)
    return values


def golomb(values: NDArray[np.integer], order: int) -> tuple[Codes, NDArray[np.int64]]:
    """Numbers in the exponential Golomb code, for `pack`: length less one in unary, then the bits."""
    above = values.astype(np.int64) + (1 << order)
    more = np.frexp(above.astype(np.float64))[1] - 1 - order
    bits = above - (1 << (more + order))
    return (((1 << more) - 1) | bits << (more + 1)).astype(np.uint32), 2 * more + 1 + order


class BitReader:
    """Reads one number after another; StreamError past the end."""

    def __init__(self, data: Sequence[int] | bytes) -> None:
        self._data, self._at = bytes(data), 0

    @property
    def bytes(self) -> int:
        """Bytes touched so far."""
        return -(-self._at // 8)

    def bit(self) -> int:
        require(self._at < 8 * len(self._data), "bits are missing")
        found = self._data[self._at >> 3] >> (self._at & 7) & 1
        self._at += 1
        return found

    def read(self, bits: int) -> int:
        return sum(self.bit() << place for place in range(bits))

    def golomb(self, order: int) -> int:
        """A number that the function `golomb` wrote."""
        more = 0
        while self.bit():
            more += 1
            require(more + order < 32, "a number is too long")
        return self.read(more + order) + (1 << (more + order)) - (1 << order)


def as_bytes(data: bytes) -> Bytes:
    return np.frombuffer(data, np.uint8)
