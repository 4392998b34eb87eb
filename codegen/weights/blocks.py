"""Blocks of a tensor that occur again: filters, vectors of channels, blocks of a packed layout.

A block is so many bytes that lie side by side: the product of a tensor's last extents, or a small power
of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from .bits import BitReader, as_bytes, pack_fixed, unpack_fixed
from .codec import Bytes, Codec, Shape, require
from .huffman import Huffman
from .plain import Raw
from .prefix import Decoder, code_lengths, pack_symbols, read_lengths, write_lengths

MOST_BYTES = 255
"""Of a block."""
MOST_PATTERNS = 1024
"""That a decoder remembers."""
LITERAL, NEW, FIRST = 0, 1, 2
"""Symbols: a block that is not remembered; one that is from here on; the first that was."""

Rows = NDArray[np.uint8]


def block_sizes(shape: Shape, count: int) -> Iterator[int]:
    """The sizes of blocks that may occur again in a tensor, each a divisor of its bytes."""
    products = accumulate(reversed(shape), lambda a, b: a * b)
    for size in sorted({2, 3, 4, 8, 16, *products}):
        if 1 < size <= MOST_BYTES and size * 2 <= count and count % size == 0:
            yield size


@dataclass(frozen=True)
class Repeats:
    """The distinct blocks of a tensor: how often each occurs, where first, and which each block is."""

    rows: Rows
    first: NDArray[np.int64]
    which: NDArray[np.int64]
    counts: NDArray[np.int64]

    @staticmethod
    def of(data: Bytes, size: int) -> Repeats:
        rows = data.reshape(-1, size)
        keys = np.ascontiguousarray(rows).view(np.dtype((np.void, size))).reshape(-1)
        _, first, which, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        return Repeats(rows, first, which.reshape(-1), counts)


class Patterns(Codec):
    """Blocks by Huffman's code, each remembered pattern by a word of its own.

    A pattern is written where it first occurs, so that the stream needs no dictionary. Payload: bytes of a
    block, how many patterns are remembered (2 bytes), the length of the words' table and of the words (4),
    both, and at the end the blocks that are written: 0 and as they are, or 1 and by `Huffman`.
    """

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        found = [_patterns(Repeats.of(data, size), size) for size in block_sizes(shape, len(data))]
        return min((p for p in found if p is not None), key=len, default=None)

    def decode(self, payload: bytes, count: int) -> Bytes:
        require(len(payload) > 7, "it is cut short")
        size, patterns = payload[0], int.from_bytes(payload[1:3], "little")
        end = 7 + int.from_bytes(payload[3:7], "little")
        require(0 < size <= count and count % size == 0, "a block does not divide it")
        require(patterns <= MOST_PATTERNS and end < len(payload), "its head is wrong")
        lengths, at = read_lengths(payload[7:end], patterns + FIRST)
        reader, decoder = BitReader(payload[7 + at : end]), Decoder.of(lengths)
        symbols = [decoder.symbol(reader) for _ in range(count // size)]
        require(7 + at + reader.bytes == end, "bytes are left over")
        return _blocks(symbols, _literals(payload[end:], sum(s < FIRST for s in symbols), size), patterns)


def _patterns(found: Repeats, size: int) -> bytes | None:
    """The payload with the most frequent patterns remembered, None where none occurs twice."""
    often = np.flatnonzero(found.counts > 1)
    kept = often[np.argsort(-found.counts[often], kind="stable")][:MOST_PATTERNS]
    if not len(kept):
        return None
    kept = kept[np.argsort(found.first[kept])]  # numbers go by the first occurrence
    number = np.full(len(found.counts), LITERAL, np.int64)
    number[kept] = FIRST + np.arange(len(kept))
    symbols = number[found.which]
    symbols[found.first[kept]] = NEW
    lengths = code_lengths(np.bincount(symbols, minlength=FIRST + len(kept)))
    coded = write_lengths(lengths) + pack_symbols(symbols, lengths)
    written = np.ascontiguousarray(found.rows[symbols < FIRST]).reshape(-1)
    head = bytes([size]) + len(kept).to_bytes(2, "little") + len(coded).to_bytes(4, "little")
    return head + coded + _write_literals(written)


def _write_literals(written: Bytes) -> bytes:
    packed = Huffman().encode(written, written.shape)
    return b"\0" + written.tobytes() if packed is None or len(packed) >= len(written) else b"\1" + packed


def _literals(data: bytes, blocks: int, size: int) -> Rows:
    require(data[0] < 2, "its literals are of no kind")
    codec: Codec = Huffman() if data[0] else Raw()
    return codec.decode(data[1:], blocks * size).reshape(blocks, size)


def _blocks(symbols: list[int], literals: Rows, patterns: int) -> Bytes:
    known: list[int] = []
    rows, written = [], 0
    for symbol in symbols:
        if symbol >= FIRST:
            require(symbol - FIRST < len(known), "a pattern is used before it is written")
            rows.append(known[symbol - FIRST])
            continue
        if symbol == NEW:
            known.append(written)
        rows.append(written)
        written += 1
    require(len(known) == patterns, "patterns are missing")
    return literals[rows].reshape(-1)


class SharedBlocks(Codec):
    """Block sparse rows whose blocks are shared: which blocks are not zero, and where the bytes of each lie.

    Payload: bytes of a block, distinct blocks (4 bytes), a bit for each block, for each that is not zero its
    number in as few bits as the last one needs, the distinct blocks.
    """

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        found = [_shared(data, size) for size in block_sizes(shape, len(data))]
        return min(found, key=len, default=None)

    def decode(self, payload: bytes, count: int) -> Bytes:
        require(len(payload) >= 5, "it is cut short")
        size, distinct = payload[0], int.from_bytes(payload[1:5], "little")
        require(0 < size <= count and count % size == 0, "a block does not divide it")
        blocks = count // size
        begin, last = 5 + -(-blocks // 8), len(payload) - distinct * size
        there = unpack_fixed(payload[5:begin], blocks, 1).astype(bool)
        width = max(distinct - 1, 0).bit_length()
        used = int(there.sum())
        require(last == begin + -(-used * width // 8), "its length is wrong")
        numbers = unpack_fixed(payload[begin:last], used, width)
        require(not used or int(numbers.max()) < distinct, "a number is past the blocks")
        rows = np.zeros((blocks, size), np.uint8)
        rows[there] = as_bytes(payload[last:]).reshape(distinct, size)[numbers]
        return rows.reshape(-1)


def _shared(data: Bytes, size: int) -> bytes:
    rows = data.reshape(-1, size)
    there: NDArray[np.bool_] = (rows != 0).any(axis=1)
    found = Repeats.of(np.ascontiguousarray(rows[there]).reshape(-1), size)
    distinct = found.rows[found.first] if len(found.first) else found.rows
    return b"".join([
        bytes([size]), len(distinct).to_bytes(4, "little"), pack_fixed(there, 1),
        pack_fixed(found.which, max(len(distinct) - 1, 0).bit_length()), distinct.tobytes(),
    ])  # fmt: skip
