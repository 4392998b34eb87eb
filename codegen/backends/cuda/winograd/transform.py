"""The input transform of a word of channels of one tile, and its rounding to bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....tir import T, load
from ..block import WORDS, Words
from .layer import Layer
from .pairs import held, input_steps, pairs_of, parts, rounded

Expr = Any
Buffer = Any

_LOW, _HIGH = -128, 127


class InputTransform:
    """Reads tiles of `data` (words of four channels), gives a word of four signed bytes for each position."""

    def __init__(self, layer: Layer, data: Buffer, factors: Buffer) -> None:
        self.layer, self.data, self.factors = layer, data, factors

    def emit(self, tile: Expr, block: Expr, word: Expr, put: Callable[[int, Expr], None]) -> None:
        """`put` gets each position and its word, of word number `word` of a block of channels."""
        halves = self._columns(tile, block, word)
        broad = self.layer.extent[1]
        for i in range(self.layer.extent[0]):
            rows = [
                input_steps([held(half[i * broad + j]) for j in range(broad)])
                for half in halves
            ]  # fmt: skip
            for j, (even, odd) in enumerate(zip(*rows, strict=True)):
                position = i * broad + j
                put(position, self._bytes(position, block, word, even, odd))

    def _columns(self, tile: Expr, block: Expr, word: Expr) -> tuple[Words, Words]:
        """B^T d down every column, of even and of odd channels."""
        high, broad = self.layer.extent
        halves = Words(high * broad, "int32"), Words(high * broad, "int32")
        read = self._reader(tile, block, word)
        for j in range(broad):
            pairs = [read(i, j) for i in range(high)]
            for half, column in zip(halves, zip(*pairs, strict=True), strict=True):
                for i, value in enumerate(input_steps(column)):
                    half[i * broad + j] = value
        return halves

    def _reader(self, tile: Expr, block: Expr, word: Expr) -> Callable[[int, int], tuple[Expr, Expr]]:
        """Pairs at a row and column of the tile; zeros outside the image."""
        layer, conv = self.layer, self.layer.conv
        image, row, column = layer.place(tile)
        top, left = held(row - conv.pads[0]), held(column - conv.pads[1])
        plane = held((image * layer.blocks + block) * conv.height)

        def read(i: int, j: int) -> tuple[Expr, Expr]:
            down, along = top + i, left + j
            if not layer.covered:
                down = T.max(0, T.min(conv.height - 1, down))
                along = T.max(0, T.min(conv.width - 1, along))
            value = held(self.data[((plane + down) * conv.width + along) * WORDS + word])
            even, odd = pairs_of(value, layer.zero_point)
            if layer.covered:
                return held(even), held(odd)
            inside = T.And(_within(top + i, conv.height), _within(left + j, conv.width))
            return held(T.Select(inside, even, 0)), held(T.Select(inside, odd, 0))

        return read

    def _bytes(self, position: int, block: Expr, word: Expr, even: Expr, odd: Expr) -> Expr:
        """Times the channels' factors, limited; in the order of the channels."""
        at = (position * self.layer.blocks + block) * (WORDS * WORDS) + word * WORDS
        factors = Words(WORDS, "int32")
        factors.put(0, load(self.factors, at, WORDS))
        (zero, two), (one, three) = parts(held(even)), parts(held(odd))
        found: Expr = None
        for k, value in enumerate((zero, one, two, three)):
            limited = T.max(_LOW, T.min(_HIGH, rounded(held(value), factors[k])))
            byte = (limited & 255) << 8 * k
            found = byte if found is None else found | byte
        return held(found)


def _within(value: Expr, size: int) -> Expr:
    return T.And(value >= 0, value < size)
