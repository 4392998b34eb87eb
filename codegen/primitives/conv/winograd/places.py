"""Where the tiles of a Winograd convolution lie, in TIR, and what of them is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from secateur.codegen.tir import T, either
from secateur.codegen.vector.shuffles import hold
from secateur.ir.support.tiles import Tiles

from .grid import TileGrid

Expr = Any


@dataclass(frozen=True)
class Places:
    """Of tiles that are counted as `TileGrid` has them."""

    shape: TileGrid[Any]

    def of(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        """Its image, row and column."""
        (down, across), (rows, columns), batch = self.shape.grid, self.shape.whole, self.shape.spec.batch
        row, column = self._of_columns(tile, columns, across)
        if batch == 1:
            return 0, row, column
        if rows in (0, down):
            return T.truncdiv(row, down), T.truncmod(row, down), column
        before, lower = batch * rows, down - rows
        image = T.Select(row < before, T.truncdiv(row, rows), T.truncdiv(row - before, lower))
        inner = T.Select(row < before, T.truncmod(row, rows), T.truncmod(row - before, lower) + rows)
        return _once(image), inner, column

    def _of_columns(self, tile: Expr, columns: int, across: int) -> tuple[Expr, Expr]:
        """Row, of those of all images with the lower ones last, and column of which the first are whole."""
        if columns in (0, across):
            return T.truncdiv(tile, across), T.truncmod(tile, across)
        first, _, end, _ = self.shape.ends
        lower, own = across - columns, tile - first
        right = T.Select(tile < first, tile, tile - (end - first))
        whole = (tile >= first) & (tile < end)
        row = T.Select(whole, T.truncdiv(own, columns), T.truncdiv(right, lower))
        return row, T.Select(whole, T.truncmod(own, columns), T.truncmod(right, lower) + columns)

    @property
    def lower(self) -> bool:
        """Whether not all tiles need all positions."""
        return self.shape.whole != self.shape.grid

    def needing(self, position: tuple[Expr, Expr], first: Expr, count: Expr) -> tuple[Expr, Expr]:
        """Of `count` tiles from `first` on, those that need a position: the first's number, and how many."""
        shape, (high, broad) = self.shape, self.shape.extent
        lowest, last = position[0] == high - 1, position[1] == broad - 1
        both, below, aside, every = (shape.needing(*kind) for kind in product((True, False), repeat=2))
        start = _either(last, aside[0], every[0])
        end = _either(lowest, _either(last, both[1], below[1]), _either(last, aside[1], every[1]))
        own = T.max(0, start - first) if aside[0] else 0
        return own, T.max(0, T.min(end - first, count) - own)


def origin(grid: TileGrid[Any], row: Expr, column: Expr) -> tuple[Expr, Expr]:
    """Row and column of the first result of the tile that is there among an image's."""
    return _once(_first(grid.down, row)), _once(_first(grid.across, column))


def _once(number: Expr) -> Expr:
    """Computed once: TVM takes seconds to simplify what is said of each element of a tile by choices."""
    return number if isinstance(number, int) else hold(number, 1, "int32")


def has(grid: TileGrid[Any], top: Expr, left: Expr) -> tuple[list[Expr], list[Expr]]:
    """Which of its rows and columns of results the tile has whose first result is there."""
    rows = [_before(top, grid.down.end(i)) for i in range(grid.tile[0])]
    return rows, [_before(left, grid.across.end(j)) for j in range(grid.tile[1])]


def sizes(grid: TileGrid[Any], rows: Sequence[Expr], columns: Sequence[Expr]) -> Iterator[tuple[int, int]]:
    """How many rows and columns a tile may have, each for the code where it has them; `has` tells which.

    Where an image is smaller than its tiles some of these may be missing, too.
    """
    for high in either(rows[-1], grid.tile[0], grid.tile[0] - 1):
        for broad in either(columns[-1], grid.tile[1], grid.tile[1] - 1):
            yield high, broad


def _before(first: Expr, end: int | None) -> Expr:
    return True if end is None else first < end


def _first(axis: Tiles, number: Expr) -> Expr:
    lower = T.max(0, number - axis.whole) if axis.whole < axis.count - 1 else 0
    return number * axis.size - lower


def _either(condition: Expr, one: Any, other: Any) -> Any:
    same = isinstance(one, int) and isinstance(other, int) and one == other
    return one if same else T.Select(condition, T.int32(one), T.int32(other))
