"""Register tiles whose operands are streams: what a kernel row reads of a block is loaded at once.

Neighbouring pixels of a block lie side by side, and so do the weights of all taps in the order in which they
are used: four vectors are one load, and the columns that several taps read are loaded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ...targets.target import Target
from ...tir import T, splat
from ...vector.streams import MOST, Stream, distance, held, last_load, loads_of
from ..specs import ConvSpec, layout_block
from .arithmetic import ByElement, HalfByElement

Expr = Any
Buffer = Any

_SPARE = 1  # registers of 32
_PASS = 16  # channels of a pass through the innermost loop
LEG = 64  # channels of a sum in binary16: a longer one loses more
_LOWER = 8  # elements of binary16 are of the 16 lower registers: of more columns, in fours, LLVM spills some


@dataclass(frozen=True)
class Rows:
    """`reach` columns are read by the first pixel of a tile, and by each after it those `apart` on."""

    reach: int = 1
    apart: int = 1

    def columns(self, pixels: Any) -> Any:
        return (pixels - 1) * self.apart + self.reach

    def pixels(self, registers: int, vectors: int, lanes: int, most: int) -> int:
        """Of the tile that fits with fewest loads by multiplication, of at most `most` columns; or 0."""
        return _pixels(self, registers, vectors, lanes, most)


@cache
def _pixels(rows: Rows, registers: int, vectors: int, lanes: int, most: int) -> int:
    def cost(pixels: int) -> float:
        weights = rows.reach * lanes * vectors
        return (loads_of(rows.columns(pixels)) + weights / MOST) / (weights * pixels)

    fitting = [
        p
        for p in range(1, registers)
        if p * vectors + rows.columns(p) + MOST + _SPARE <= registers and rows.columns(p) <= most
    ]
    return min(fitting, key=lambda pixels: (cost(pixels), -pixels), default=0)


@dataclass(frozen=True)
class RowsByElement(ByElement):
    """Of float32."""

    rows: Rows = Rows()

    peeled = False  # see `RowsOfBytes.peeled`

    def tile_pixels(self, registers: int, vectors: int) -> int:
        return max(1, self.rows.pixels(registers, vectors, self.lanes, registers))

    def most_pixels(self, registers: int, vectors: int) -> int:
        """Those whose operands fit at all, with more loads by multiplication."""
        return max(self.tile_pixels(registers, vectors), (registers - MOST - _SPARE) // (vectors + 1))

    def loads(self, pixels: Any, vectors: Any) -> Any:
        return self.rows.columns(pixels) / (self.rows.reach * self.lanes) + vectors

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return 2 if self.data == "float16" else 4

    def onward(self, columns: int, apart: int) -> Expr:
        """A distance that `Operands.row` takes: `columns` are read of each row, `apart` elements on.

        It is made here, once for all tiles that follow.
        """
        before = (columns - last_load(columns)) * self.lanes
        return distance((apart - before) * self.size)

    def together(self, blocks: int) -> int:
        """Of so many blocks of channels those of one pass through the innermost loop."""
        return next(n for n in (4, 2, 1) if blocks % n == 0 and n * self.lanes <= max(_PASS, self.lanes))

    def in_line(self, blocks: int) -> int:
        """The same of a Winograd convolution."""
        return self.together(blocks)

    def operands(self, data: tuple[Buffer, Expr], weights: tuple[Buffer, Expr], vectors: int) -> Operands:
        return Operands(self, data, weights, vectors)

    def fits(self, registers: int) -> bool:
        """Whether there is a tile at all."""
        return self.rows.pixels(registers, 1, self.lanes, registers) > 0


@dataclass(frozen=True)
class HalfRowsByElement(RowsByElement, HalfByElement):
    """Of binary16."""

    dtype = data = weight = "float16"

    def in_line(self, blocks: int) -> int:
        """All of a sum, where it is of as many as are added before it ends (`LEG`)."""
        return next(n for n in range(LEG // self.lanes, 0, -1) if blocks % n == 0)

    def tile_pixels(self, registers: int, vectors: int) -> int:
        return max(1, self.rows.pixels(registers, vectors, self.lanes, _LOWER))

    def most_pixels(self, registers: int, vectors: int) -> int:
        return self.tile_pixels(registers, vectors)


def by_rows(target: Target, dtype: str, rows: Rows = Rows()) -> RowsByElement | None:
    """What multiplies so by rows of a kernel, or None where nothing does."""
    if not target.isa.streams:
        return None
    arithmetic = (HalfRowsByElement if dtype == "float16" else RowsByElement)(target.lanes, rows)
    return arithmetic if arithmetic.fits(target.isa.vector_registers) else None


def rows_of(spec: ConvSpec, target: Target) -> RowsByElement | None:
    """The same of a convolution."""
    if spec.element_bytes == 1 or layout_block(spec.in_layout) != target.lanes or spec.wide:
        return None
    reach = (spec.kernel[1] - 1) * spec.dilations[1] + 1
    return by_rows(target, spec.dtype, Rows(reach, spec.strides[1]))


class Operands:
    """Streams of both operands of a register tile, from an element of each on.

    After what a row of taps reads, the next row's columns begin `apart` elements on from where they began.
    """

    def __init__(
        self, arithmetic: RowsByElement, data: tuple[Buffer, Expr], weights: tuple[Buffer, Expr], vectors: int
    ) -> None:
        self.arithmetic, self.vectors, lanes = arithmetic, vectors, arithmetic.lanes
        self.data, self.weights = (Stream(*of, lanes, arithmetic.data) for of in (data, weights))
        self.size = arithmetic.size

    def row(
        self,
        acc: Any,
        on: Expr,
        taps: Sequence[tuple[range, range]],
        skipped: int = 0,
        ask: tuple[int, int] | None = None,
        first: bool = False,
        channels: int | None = None,
    ) -> None:
        """Adds taps of a block of channels: each of some pixels, with the columns that they read, from 0 on.

        Sums begin with the `first` channel's products, of one tap. Where `channels` are given, the others of
        the block have no weights.

        `skipped` taps have weights and no pixels. `ask` is how many bytes beyond the weights in use those lie
        that are asked for, and the level of the cache.
        """
        read = self.data.take(max(at[-1] for _, at in taps) + 1, on)
        lanes, vectors = self.arithmetic.lanes, self.vectors
        used = channels or lanes
        order = [(*tap, channel, v) for tap in taps for channel in range(used) for v in range(vectors)]
        for at_first in range(0, len(order), MOST):
            chunk = order[at_first : at_first + MOST]
            last = skipped > 0 and at_first + MOST >= len(order)
            weights = self._weights(len(chunk), self._beyond(len(chunk), skipped) if last else None, ask)
            for (pixels, at, channel, v), weight in zip(chunk, weights, strict=True):
                for r, column in zip(pixels, at, strict=True):
                    element = splat(T.Shuffle([read[column]], [channel]), lanes)
                    if first and channel == 0:
                        acc[r * vectors + v] = element * weight
                    else:
                        self.arithmetic.accumulate(acc, r * vectors + v, element, weight)
            held(acc)

    def skip(self, data: Expr, weights: Expr) -> None:
        """Moves on by so many elements of each, from where the next row of taps would begin."""
        for stream, elements in ((self.data, data), (self.weights, weights)):
            stream.skip(T.Cast("int64", elements) * T.int64(self.size))

    def _beyond(self, count: int, skipped: int) -> Expr:
        """From `count` vectors of weights to those behind the taps that are skipped."""
        lanes = self.arithmetic.lanes
        return T.int64((count + skipped * lanes * self.vectors) * lanes * self.size)

    def _weights(self, count: int, on: Expr, ask: tuple[int, int] | None) -> list[Expr]:
        if ask is not None:
            self.weights.ask(*ask)
        return self.weights.take(count, on)
