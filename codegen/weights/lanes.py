"""Asymmetric numeral systems (rANS, Duda 2013) in lanes that take turns.

Symbol number i of a row of symbols belongs to lane i % lanes. Each lane has a state of 32 bits, 2^16 at
least between two symbols; all lanes take words of 16 bits from one stream, in the order of the symbols. So a
decoder works on many states side by side and has one place in the stream (Giesen, Interleaved
entropy coders, 2014). The encoder begins at the end, with states of 2^16, which the decoder must
come back to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .codec import Bytes, require
from .tables import BITS, TOTAL

LOW = 1 << 16
MOST_LANES = 256
LOG_SYMBOLS = 11
"""Of a lane, about: a lane costs four bytes, of which two hold symbols."""

Numbers = NDArray[np.uint64]


def lanes_for(count: int) -> int:
    """A power of two, the more the more symbols there are."""
    return 1 << min(max((count >> LOG_SYMBOLS).bit_length() - 1, 0), MOST_LANES.bit_length() - 1)


def padded(row: NDArray[np.integer], lanes: int, filler: int) -> NDArray[np.integer]:
    """A row of symbols' numbers as steps of all lanes, the last one filled up."""
    steps = -(-len(row) // lanes)
    result = np.full(steps * lanes, filler, np.uint32)
    result[: len(row)] = row
    return result.reshape(steps, lanes)


def encode(counts: NDArray[np.integer], starts: NDArray[np.integer]) -> bytes:
    """States, then words, of steps x lanes symbols, each given by its count in TOTAL and the sum before it.

    A place without a symbol has the count TOTAL, which changes no state.
    """
    steps, lanes = counts.shape
    states, taken = np.zeros((steps, lanes), np.uint64), np.zeros((steps, lanes), bool)
    count, state = counts.astype(np.uint64), np.full(lanes, LOW, np.uint64)
    limits, gaps = count << np.uint64(32 - BITS), np.uint64(TOTAL) - count
    for step in range(steps - 1, -1, -1):
        states[step] = state
        over = np.greater_equal(state, limits[step], out=taken[step])
        state = state >> (over * np.uint64(16))
        state += state // count[step] * gaps[step] + starts[step]  # the rest of the division stays
    return state.astype("<u4").tobytes() + states[taken].astype("<u2").tobytes()


class Reader:
    """The lanes of a stream, from the states on."""

    def __init__(self, data: bytes, lanes: int) -> None:
        require(len(data) >= 4 * lanes and len(data) % 2 == 0, "its states are cut short")
        self._state = np.frombuffer(data, "<u4", lanes).astype(np.uint64)
        self._words = np.frombuffer(data, "<u2", offset=4 * lanes).astype(np.uint64)
        self._at = 0
        require(bool((self._state >= LOW).all()), "a state is none")

    def row(self, tables: Tables, contexts: NDArray[np.integer]) -> Bytes:
        """As many symbols as there are contexts, each by the table of its own."""
        result = np.empty(len(contexts), np.uint8)
        for at in range(0, len(contexts), len(self._state)):
            some = contexts[at : at + len(self._state)]
            result[at : at + len(some)] = self._step(tables, some)
        return result

    def _step(self, tables: Tables, contexts: NDArray[np.integer]) -> Bytes:
        state = self._state[: len(contexts)]
        slot = (state & np.uint64(TOTAL - 1)).astype(np.int64)
        symbol: Bytes = tables.symbols[contexts, slot]
        count, start = tables.counts[contexts, symbol], tables.starts[contexts, symbol]
        self._advance(count * (state >> np.uint64(BITS)) + slot.astype(np.uint64) - start)
        return symbol

    def flags(self, chances: NDArray[np.int64]) -> NDArray[np.bool_]:
        """As many bits as there are chances, each the chance of a 1 in TOTAL parts."""
        result = np.empty(len(chances), bool)
        for at in range(0, len(chances), len(self._state)):
            some = chances[at : at + len(self._state)].astype(np.uint64)
            state = self._state[: len(some)]
            slot = state & np.uint64(TOTAL - 1)
            result[at : at + len(some)] = there = slot < some
            count = np.where(there, some, np.uint64(TOTAL) - some)
            self._advance(count * (state >> np.uint64(BITS)) + slot - np.where(there, np.uint64(0), some))
        return result

    def _advance(self, state: Numbers) -> None:
        """The first lanes' states after a symbol of each; those that are too low take words."""
        low = state < LOW
        end = self._at + int(low.sum())
        require(end <= len(self._words), "words are missing")
        state[low] = state[low] << np.uint64(16) | self._words[self._at : end]
        self._state[: len(state)], self._at = state, end

    def finish(self) -> None:
        """StreamError unless every word is read and the states are those that the encoder began with."""
        require(self._at == len(self._words) and bool((self._state == LOW).all()), "its end is wrong")


class Tables:
    """Tables as a decoder uses them: symbols by slot, counts and starts by symbol."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.counts = counts.astype(np.uint64)
        self.starts = (np.cumsum(counts, axis=1) - counts).astype(np.uint64)
        self.symbols = np.stack([np.repeat(np.arange(256, dtype=np.uint8), row) for row in counts])
