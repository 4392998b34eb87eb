"""Register tiles of bytes whose sums are of channels: four for each pixel and vector of filters.

What a nest sees as a vector of filters, `opened` makes sums of zero, and `closed` adds up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from secateur.ir.support.room import Room

from ...targets.target import Target
from ...tir import Registers
from ...vector.across import CHANNELS, PRODUCTS, SPARE, Across, across
from ...vector.dot import QUAD
from ...vector.streams import MOST, distance, held
from .arithmetic import Arithmetic
from .rows_of_bytes import OperandsOfBytes, RowsOfBytes, WeightsOfBytes

Expr = Any
Buffer = Any
Kind = TypeVar("Kind", bound=Arithmetic)

_UNSIGNED = 8.0  # a pixel's block is loaded and made signed before it is multiplied, by llvm-mca
_EARLY = 1.0  # the same where it is in order, and products of two pixels wait less than those of one


@dataclass(frozen=True)
class SumsOfChannels(RowsOfBytes):
    """Some blocks of channels a step."""

    dot: Across

    begins_anew = True
    closing = 3.0  # instructions that add up a vector of filters

    @property
    def blocks(self) -> int:  # type: ignore[override]
        return self.dot.blocks

    def loads(self, pixels: Any, vectors: Any) -> Any:
        """By what they take: an instruction serves four vectors of a stream."""
        waits = _EARLY if self.dot.side_by_side else _UNSIGNED
        each = waits if self.dot.offset else 1.0
        return self.blocks * (each * pixels + self.lanes * vectors) / 2

    def tile_pixels(self, registers: int, vectors: int) -> int:
        waits = self.dot.side_by_side
        spare, sums = (SPARE - PRODUCTS, vectors + 1) if waits else (SPARE, vectors)
        return max(1, (registers - spare) // (self.lanes * sums + self.blocks))

    def together(self, blocks: int) -> int:
        """Steps of one pass through the innermost loop, of so many blocks of channels."""
        steps = blocks // self.blocks
        return next(n for n in (4, 2, 1) if steps % n == 0)

    def opened(self, acc: Any, vectors: int) -> Any:
        """[pixel][vector][filter]; what they start with is added at the end."""
        sums = _Sums(acc.count * self.lanes, self.lanes, self.dtype)
        sums.fill(0)
        sums.starts = acc
        return sums

    def closed(self, acc: Any, vectors: int) -> Any:
        """Each vector's filters."""
        starts, lanes = acc.starts, self.lanes
        for number in range(starts.count):
            filters = [acc[number * lanes + f] for f in range(lanes)]
            starts[number] = starts[number] + self.dot.added(filters)
        return starts

    def pixel(self, data: Buffer, place: Expr, apart: int) -> Any:
        quads = CHANNELS // QUAD
        return tuple(self.elements(data, place + k * apart, quads)[0][0] for k in range(self.blocks))

    def weights_of(self, weights: tuple[Buffer, Expr], vectors: int) -> WeightsOfBytes:
        return WeightsOfFilters(self, weights, vectors)

    def operands(
        self, data: tuple[Buffer, Expr], weights: tuple[Buffer, Expr], vectors: int
    ) -> OperandsOfBytes:
        return OperandsOfBlocks(self, data, weights, vectors)


class _Sums(Registers):
    starts: Any = None


class WeightsOfFilters(WeightsOfBytes):
    """A stream of weights: of each filter some blocks of channels."""

    dot: Across

    def tap(
        self, acc: Any, pixels: Mapping[int, Any], skipped: int = 0, ask: tuple[int, int] | None = None
    ) -> None:
        blocks, filters = self.dot.blocks, self.vectors * self.dot.lanes
        together = self.dot.lanes if self.dot.side_by_side else max(1, MOST // blocks)
        loaded = together if self.dot.side_by_side else together * blocks  # vectors of the last load
        for first in range(0, filters, together):
            last = first + together == filters
            beyond = distance((skipped * filters * blocks + loaded) * CHANNELS) if skipped and last else None
            if ask is not None:
                self.stream.ask(*ask)
            places = [r * filters + first + f for r in pixels for f in range(together)]
            if self.dot.side_by_side:
                self._side_by_side(acc, places, list(pixels.values()), beyond)
            else:
                self._one_by_one(acc, places, list(pixels.values()), beyond)
            held(acc, places)

    def _one_by_one(self, acc: Any, places: Sequence[int], elements: Sequence[Any], beyond: Expr) -> None:
        """Each filter's products one after another, which a processor that need not wait mixes itself."""
        blocks, together = self.dot.blocks, len(places) // len(elements)
        taken = self.stream.take(together * blocks, beyond)
        for number, at in enumerate(places):
            pixel, f = divmod(number, together)
            self.dot.accumulate(acc, at, elements[pixel], tuple(taken[f * blocks : (f + 1) * blocks]))

    def _side_by_side(self, acc: Any, places: Sequence[int], elements: Sequence[Any], beyond: Expr) -> None:
        """A product of each filter, then the next of each."""
        lanes, last = self.dot.lanes, self.dot.blocks - 1
        totals = Registers(len(places), CHANNELS // 2, "int16")
        totals.fill(0)
        for block in range(last + 1):
            weights = self.stream.take(lanes, beyond if block == last else None)
            for number, element in enumerate(elements):
                self.dot.accumulate_block(totals, number * lanes, element[block], weights)
        for number, at in enumerate(places):
            self.dot.close(acc, at, totals[number])


class OperandsOfBlocks(OperandsOfBytes):
    """Streams of both operands: a step's blocks of channels lie one after another."""

    dot: Across

    def row(
        self, acc: Any, on: Expr, taps: Sequence[tuple[range, range]], ask: tuple[int, int] | None = None
    ) -> None:
        quads = CHANNELS // QUAD
        blocks = [
            [self.dot.taken(v, quads)[0][0] for v in self.data.take(max(at[-1] for _, at in taps) + 1, on)]
            for _ in range(self.dot.blocks)
        ]
        for pixels, at in taps:
            read = {r: tuple(block[c] for block in blocks) for r, c in zip(pixels, at, strict=True)}
            self.weights.tap(acc, read, ask=ask)


def by_channels(arithmetic: Kind, room: Room, target: Target) -> Kind | SumsOfChannels:
    """`arithmetic`, with sums of channels where weights have room for products of several blocks."""
    dot = across(target, room.signed) if type(arithmetic) is RowsOfBytes and room.signed > 1 else None
    return SumsOfChannels(target.lanes, dot) if dot else arithmetic
