"""Canonical prefix codes of limited length.

Lengths alone define the code: codes are given to symbols by length, then by number, counting up (Schwartz and
Kallick 1964). The lengths are the best within the limit, by package-merge (Larmore and Hirschberg 1990). A
word goes into the stream with its first bit first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bits import BitReader, Codes, golomb, pack
from .codec import require

LIMIT = 15
"""Bits of a word at most; a length is a number of four bits, 0 where a symbol does not occur."""

Lengths = NDArray[np.int64]


def code_lengths(counts: NDArray[np.integer]) -> Lengths:
    """Bits for each symbol, 0 where its count is 0; a symbol alone takes one bit."""
    lengths = np.zeros(len(counts), np.int64)
    used = np.flatnonzero(counts)
    if len(used) < 2:
        lengths[used] = 1
        return lengths
    order = used[np.argsort(counts[used], kind="stable")]
    leaves: list[tuple[int, tuple[int, ...]]] = [(int(counts[s]), (rank,)) for rank, s in enumerate(order)]
    for rank in _packages(leaves, LIMIT):
        lengths[order[rank]] += 1
    return lengths


def _packages(leaves: list[tuple[int, tuple[int, ...]]], limit: int) -> list[int]:
    """Package-merge: the ranks of the leaves in the 2 (n - 1) cheapest items of the last level."""
    level = leaves
    for _ in range(limit - 1):
        pairs = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = sorted(leaves + pairs, key=lambda item: item[0])
    return [rank for item in level[: 2 * len(leaves) - 2] for rank in item[1]]


def canonical(lengths: Lengths) -> Codes:
    """The word of each symbol, its first bit lowest."""
    codes, code, last = np.zeros(len(lengths), np.uint32), 0, 0
    for symbol in np.argsort(lengths, kind="stable"):
        if length := int(lengths[symbol]):
            code <<= length - last
            codes[symbol] = int(f"{code:0{length}b}"[::-1], 2)
            code, last = code + 1, length
    return codes


def write_lengths(lengths: Lengths) -> bytes:
    """Lengths as numbers of four bits; a 0 is followed by how many more there are, in Golomb's code."""
    values, runs = zero_runs(lengths)
    more, bits = golomb(runs, 0)
    codes = np.stack([values.astype(np.uint32), more], 1).reshape(-1)
    return pack(codes, np.stack([np.full(len(values), 4), np.where(values == 0, bits, 0)], 1).reshape(-1))


def zero_runs(values: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The values with one zero for each run of zeros, and how many more the run has; 0 for other values."""
    begins = np.flatnonzero((values != 0) | (np.roll(values, 1) != 0) | (np.arange(len(values)) == 0))
    return values[begins], np.diff(begins, append=len(values)) - 1


def read_lengths(data: bytes, symbols: int) -> tuple[Lengths, int]:
    """What `write_lengths` wrote for so many symbols, and the bytes that it took."""
    reader, lengths = BitReader(data), np.zeros(symbols, np.int64)
    at = 0
    while at < symbols:
        lengths[at] = reader.read(4)
        at += 1 if lengths[at] else reader.golomb(0) + 1
    require(at == symbols, "a table of lengths is too long")
    require(sum(1 << (LIMIT - int(n)) for n in lengths if n) <= 1 << LIMIT, "a table of lengths is no code")
    return lengths, reader.bytes


@dataclass(frozen=True)
class Decoder:
    """Words of a canonical code, one bit after another: slow and plain."""

    first: tuple[int, ...]
    """By length: the word that symbols of this length begin with."""
    begin: tuple[int, ...]
    """By length: how many symbols have shorter words."""
    counts: tuple[int, ...]
    symbols: tuple[int, ...]

    @staticmethod
    def of(lengths: Lengths) -> Decoder:
        counts = [int((lengths == n).sum()) for n in range(LIMIT + 1)]
        counts[0], first, begin = 0, [0], [0]
        for n in range(1, LIMIT + 1):
            first.append((first[-1] + counts[n - 1]) << 1)
            begin.append(begin[-1] + counts[n - 1])
        order = [int(s) for s in np.argsort(lengths, kind="stable") if lengths[s]]
        return Decoder(tuple(first), tuple(begin), tuple(counts), tuple(order))

    def symbol(self, reader: BitReader) -> int:
        code = 0
        for n in range(1, LIMIT + 1):
            code = code << 1 | reader.bit()
            if (at := code - self.first[n]) < self.counts[n]:
                require(at >= 0, "a word is no code's")
                return self.symbols[self.begin[n] + at]
        require(False, "a word is no code's")
        raise AssertionError


def words(symbols: NDArray[np.integer], lengths: Lengths) -> tuple[Codes, Lengths]:
    """The word of each symbol and its bits, for `pack`."""
    return canonical(lengths)[symbols], lengths[symbols]


def pack_symbols(symbols: NDArray[np.integer], lengths: Lengths) -> bytes:
    return pack(*words(symbols, lengths))
