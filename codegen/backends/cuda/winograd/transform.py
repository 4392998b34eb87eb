"""The input transform of a few channels of one tile, and its rounding to bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ....tir import T
from ..block import WORDS, Words
from .layer import Layer, PlaceOf
from .pairs import held, input_steps, pair_of, rounded

Expr = Any
Buffer = Any

_LOW, _HIGH = -128, 127


class InputTransform:
    """Reads tiles of `data`, words of four channels, and gives pairs of channels for each position."""

    def __init__(self, layer: Layer, data: Buffer, place_of: PlaceOf | None = None) -> None:
        """`place_of` tells where a tile lies, if its number does not (see `Domain.place`)."""
        self.layer, self.data, self.place_of = layer, data, place_of or layer.place

    def emit(
        self, place: tuple[Expr, Expr, Expr], shifts: Sequence[Expr], put: Callable[[int, list[Expr]], None]
    ) -> None:
        """`put` gets each position and its pairs of a tile, block of channels and word of it.

        There is one pair for each of `shifts` (see `pair_of`).
        """
        halves = self._columns(place, shifts)
        broad = self.layer.extent[1]
        for i in range(self.layer.extent[0]):
            rows = [input_steps([held(half[i * broad + j]) for j in range(broad)]) for half in halves]
            for j, pairs in enumerate(zip(*rows, strict=True)):
                put(i * broad + j, list(pairs))

    def _columns(self, place: tuple[Expr, Expr, Expr], shifts: Sequence[Expr]) -> list[Words]:
        """B^T d down every column, for each shift."""
        high, broad = self.layer.extent
        halves = [Words(high * broad, "int32") for _ in shifts]
        read = self._reader(place, shifts)
        for j in range(broad):
            pairs = [read(i, j) for i in range(high)]
            for half, column in zip(halves, zip(*pairs, strict=True), strict=True):
                for i, value in enumerate(input_steps(column)):
                    half[i * broad + j] = value
        return halves

    def _reader(
        self, place: tuple[Expr, Expr, Expr], shifts: Sequence[Expr]
    ) -> Callable[[int, int], list[Expr]]:
        """Pairs at a row and column of the tile; zeros outside the image."""
        layer, conv, (tile, block, word) = self.layer, self.layer.spec, place
        image, row, column = self.place_of(tile)
        top, left = held(row - conv.pads[0]), held(column - conv.pads[1])
        plane = held((image * layer.blocks + block) * conv.height)

        def read(i: int, j: int) -> list[Expr]:
            down, along = top + i, left + j
            if not layer.covered:
                down = T.max(0, T.min(conv.height - 1, down))
                along = T.max(0, T.min(conv.width - 1, along))
            value = held(self.data[((plane + down) * conv.width + along) * WORDS + word])
            pairs = [pair_of(value, shift, layer.zero_point) for shift in shifts]
            if not layer.covered:
                inside = T.And(_within(top + i, conv.height), _within(left + j, conv.width))
                pairs = [T.Select(inside, pair, 0) for pair in pairs]
            return [held(pair) for pair in pairs]

        return read


def joined(values: Sequence[Expr], factors: Words) -> Expr:
    """Values of channels times their factors, limited to signed bytes, the first one's lowest in a word."""
    found: Expr = None
    for k, value in enumerate(values):
        limited = T.max(_LOW, T.min(_HIGH, rounded(held(value), factors[k])))
        byte = (limited & 255) << 8 * k
        found = byte if found is None else found | byte
    return held(found)


def _within(value: Expr, size: int) -> Expr:
    return T.And(value >= 0, value < size)
