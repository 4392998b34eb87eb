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
from ...vector.across import CHANNELS, SPARE, Across, across
from ...vector.dot import QUAD
from ...vector.streams import MOST, distance, held
from .arithmetic import Arithmetic
from .rows_of_bytes import OperandsOfBytes, RowsOfBytes, WeightsOfBytes

Expr = Any
Buffer = Any
Kind = TypeVar("Kind", bound=Arithmetic)

_UNSIGNED = 8.0  # a pixel's block is loaded and made signed before it is multiplied, by llvm-mca


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
        each = _UNSIGNED if self.dot.offset else 1.0
        return self.blocks * (each * pixels + self.lanes * vectors) / 2

    def tile_pixels(self, registers: int, vectors: int) -> int:
        return max(1, (registers - SPARE) // (self.lanes * vectors + self.blocks))

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
        together = max(1, MOST // blocks)
        for first in range(0, filters, together):
            last = first + together == filters
            beyond = (
                distance((skipped * filters + together) * blocks * CHANNELS) if skipped and last else None
            )
            if ask is not None:
                self.stream.ask(*ask)
            taken = self.stream.take(together * blocks, beyond)
            for r, element in pixels.items():
                for f in range(together):
                    weights = tuple(taken[f * blocks : (f + 1) * blocks])
                    self.dot.accumulate(acc, r * filters + first + f, element, weights)
            held(acc, (r * filters + first + f for r in pixels for f in range(together)))


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
