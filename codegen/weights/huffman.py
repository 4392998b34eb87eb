"""Huffman's code of bytes, by a tensor's own table or a network's, and of bytes with runs of zeros."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .bits import BitReader, pack
from .codec import Bytes, Codec, Shape, require
from .prefix import Decoder, Lengths, code_lengths, pack_symbols, read_lengths, words, write_lengths


class Huffman(Codec):
    """One canonical code for the tensor's bytes. Payload: the lengths of its words, then the words."""

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        lengths = code_lengths(np.bincount(data, minlength=256))
        return write_lengths(lengths) + pack_symbols(data, lengths)

    def decode(self, payload: bytes, count: int) -> Bytes:
        lengths, at = read_lengths(payload, 256)
        return _decoded(payload[at:], lengths, count)

    def size(self, data: Bytes, shape: Shape) -> int | None:
        return _own_bytes(np.bincount(data, minlength=256))


class NetworkHuffman(Codec):
    """One canonical code for a network's bytes, of which `table` has the lengths. Payload: the words."""

    def __init__(self, table: bytes = b"") -> None:
        self._table = table

    def given(self, table: bytes) -> Codec:
        return NetworkHuffman(table)

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        lengths = lengths_of(self._table) if self._table else np.zeros(256, np.int64)
        return pack_symbols(data, lengths) if lengths[data].all() else None

    def decode(self, payload: bytes, count: int) -> Bytes:
        return _decoded(payload, lengths_of(self._table), count)

    def size(self, data: Bytes, shape: Shape) -> int | None:
        """Where the table is not known yet, as with one of the tensor's own."""
        counts = np.bincount(data, minlength=256)
        if not self._table:
            return _own_bytes(counts)
        lengths = lengths_of(self._table)
        return words_bytes(counts, lengths) if lengths[counts > 0].all() else None


def _own_bytes(counts: NDArray[np.integer]) -> int:
    """Of a table of what occurs so often, and the words by it."""
    lengths = code_lengths(counts)
    return len(write_lengths(lengths)) + words_bytes(counts, lengths)


def words_bytes(counts: NDArray[np.integer], lengths: Lengths) -> int:
    """Of the words of bytes that occur so often."""
    return -(-int((counts * lengths).sum()) // 8)


@lru_cache(maxsize=8)
def lengths_of(table: bytes) -> Lengths:
    """Of a network's words; StreamError where the table is none."""
    lengths, at = read_lengths(table, 256)
    require(at == len(table), "bytes are left over")
    return lengths


def _decoded(payload: bytes, lengths: Lengths, count: int) -> Bytes:
    decoder, reader = Decoder.of(lengths), BitReader(payload)
    result = np.array([decoder.symbol(reader) for _ in range(count)], np.uint8)
    require(reader.bytes == len(payload), "bytes are left over")
    return result


RUNS = 24
"""Classes of runs of zeros: 2^r to 2^(r + 1) - 1, the first of which is the symbol of a zero alone."""
SYMBOLS = 256 + RUNS - 1


class ZeroRun(Codec):
    """As `Huffman`, with a word for each class of runs of zeros, and bits behind it that tell the length.

    Symbol 0 is one zero; symbol 255 + r is a run of 2^r to 2^(r + 1) - 1, and r bits tell which.
    """

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        symbols, extra, bits = _tokens(data)
        lengths = code_lengths(np.bincount(symbols, minlength=SYMBOLS))
        codes, taken = words(symbols, lengths)
        both = np.stack([codes, extra], 1).reshape(-1)
        return write_lengths(lengths) + pack(both, np.stack([taken, bits], 1).reshape(-1))

    def decode(self, payload: bytes, count: int) -> Bytes:
        lengths, at = read_lengths(payload, SYMBOLS)
        decoder, reader = Decoder.of(lengths), BitReader(payload[at:])
        result, end = np.zeros(count, np.uint8), 0
        while end < count:
            symbol, run = decoder.symbol(reader), 1
            if symbol > 255:
                run = (1 << (symbol - 255)) + reader.read(symbol - 255)
                require(end + run <= count, "a run of zeros is too long")
            else:
                result[end] = symbol
            end += run
        require(at + reader.bytes == len(payload), "bytes are left over")
        return result


def _tokens(data: Bytes) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.int64]]:
    """Symbols, the bits that follow each, and how many those are."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], data != 0, [True]]).astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    at, runs = _pieces(begins, ends)
    places = np.concatenate([np.flatnonzero(data), at])
    order = np.argsort(places, kind="stable")
    classes = np.floor(np.log2(runs)).astype(np.int64) if len(runs) else np.zeros(0, np.int64)
    symbols = np.concatenate([data[data != 0].astype(np.int64), np.where(classes, classes + 255, 0)])
    bits = np.concatenate([np.zeros(len(symbols) - len(runs), np.int64), classes])
    extra = np.concatenate([np.zeros(len(symbols) - len(runs), np.int64), runs - (1 << classes)])
    return symbols[order], extra[order].astype(np.uint32), bits[order]


def _pieces(
    begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where runs of zeros begin and how long they are, those past the last class cut into several."""
    most = (1 << RUNS) - 1
    count = -(-(ends - begins) // most)
    number = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    at = np.repeat(begins, count) + number * most
    return at, np.minimum(np.repeat(ends, count) - at, most)
