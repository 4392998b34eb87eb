"""Buffers of one arena, and the bytes that they need at least.

A buffer is made of pieces: byte ranges, each needed over a range of operators.
Pieces of different buffers needed at once must not overlap. The bytes needed at
any one operator bound the arena from below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

ALIGNMENT = 64

Ranges = list[tuple[int, int]]  # of bytes, or of offsets


@dataclass(frozen=True)
class Piece:
    """Bytes `low` to `high` (excluded) of a buffer, needed from operator `start` to `end`, both included."""

    start: int
    end: int
    low: int
    high: int

    def meets(self, other: Piece) -> bool:
        """Whether the two are needed at one operator."""
        return self.start <= other.end and other.start <= self.end


@dataclass(frozen=True)
class Buffer:
    """Pieces that keep their distance; multiples of ALIGNMENT."""

    pieces: tuple[Piece, ...]

    @staticmethod
    def whole(start: int, end: int, size: int) -> Buffer:
        """A buffer of one piece."""
        return Buffer((Piece(start, end, 0, size),))

    @property
    def start(self) -> int:
        return min(p.start for p in self.pieces)

    @property
    def end(self) -> int:
        return max(p.end for p in self.pieces)

    @property
    def size(self) -> int:
        return max(p.high for p in self.pieces)

    def changes(self) -> Iterator[tuple[int, int]]:
        """Operators, in order, and by how many bytes what is needed of the buffer grows there."""
        edges = sorted({edge for p in self.pieces for edge in (p.low, p.high)})
        number = {edge: i for i, edge in enumerate(edges)}
        holders = [0] * len(edges)  # of the bytes from each edge to the next
        steps = [(t, step, p) for p in self.pieces for t, step in ((p.start, 1), (p.end + 1, -1))]
        for at, step, p in sorted(steps, key=lambda s: s[0]):
            for i in range(number[p.low], number[p.high]):
                holders[i] += step
                if holders[i] == max(step, 0):  # the first to come or the last to go
                    yield at, step * (edges[i + 1] - edges[i])


def align(size: int) -> int:
    """`size` rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def union_length(ranges: Ranges) -> int:
    """How many integers lie in any of the half-open ranges."""
    total = top = 0
    for low, high in sorted(ranges):
        total += max(0, high - max(top, low))
        top = max(top, high)
    return total


def live_bytes(buffers: Sequence[Buffer]) -> list[int]:
    """Bytes needed at each operator, by number."""
    change = [0] * (max((b.end for b in buffers), default=-1) + 2)
    for b in buffers:
        for at, bytes_more in b.changes():
            change[at] += bytes_more
    return list(accumulate(change))


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """The most bytes needed at once: no arena can be smaller."""
    return max(live_bytes(buffers))


def peak(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Bytes the arena needs."""
    return max((o + b.size for b, o in zip(buffers, offsets, strict=True)), default=0)
