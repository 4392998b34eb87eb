"""Tiles in the order of `TileGrid`, where what a position is needed by is one range of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ....primitives.conv.winograd.places import origin
from ....rounding import up
from ....tir import T
from .layer import Layer
from .pairs import held

Expr = Any
Range = tuple[Any, Any]


@dataclass(frozen=True)
class _Kind:
    """Tiles of one kind: where the first of an image lies, and how many there are down and across."""

    row: int
    column: int
    rows: int
    columns: int

    @property
    def tiles(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class TileOrder:
    """Of a layer's tiles of all images."""

    layer: Layer

    @cached_property
    def kinds(self) -> tuple[_Kind, ...]:
        """Lower across, not lower, lower down, both."""
        (down, across), (rows, columns) = self.layer.grid, self.layer.whole
        right, below = across - columns, down - rows
        return (
            _Kind(0, columns, rows, right),
            _Kind(0, 0, rows, columns),
            _Kind(rows, 0, below, columns),
            _Kind(rows, columns, below, right),
        )

    def place(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        """Image, row and column of the first result of a tile."""
        found: tuple[Expr, ...] | None = None
        for kind, end in reversed(list(zip(self.kinds, self.layer.ends, strict=True))):
            if not kind.tiles:
                continue
            own = self._within(kind, held(tile - (end - self.layer.spec.batch * kind.tiles)))
            if found is None:
                found = own
            else:
                found = tuple(T.Select(tile < end, a, b) for a, b in zip(own, found, strict=True))
        assert found is not None, "a result has tiles"
        image, row, column = map(held, found)
        return image, *origin(self.layer, row, column)

    def _within(self, kind: _Kind, number: Expr) -> tuple[Expr, ...]:
        inner = held(T.truncmod(number, kind.tiles))
        row, column = T.truncdiv(inner, kind.columns), T.truncmod(inner, kind.columns)
        return T.truncdiv(number, kind.tiles), row + kind.row, column + kind.column

    def range_of(self, position: int) -> tuple[int, int]:
        """The first tile that needs a position, and the end of those that do."""
        row, column = divmod(position, self.layer.extent[1])
        return self.layer.needing(row == self.layer.extent[0] - 1, column == self.layer.extent[1] - 1)

    def range_at(self, position: Expr) -> Range:
        """The same of a position that is known at run time."""
        high, broad = self.layer.extent
        lowest, last = position >= (high - 1) * broad, T.truncmod(position, broad) == broad - 1
        both, down, across, all_ = (self.layer.needing(*k) for k in ((1, 1), (1, 0), (0, 1), (0, 0)))  # type: ignore[arg-type]
        start = T.Select(last, T.int32(across[0]), T.int32(0))
        low = T.Select(last, T.int32(both[1]), T.int32(down[1]))
        return start, T.Select(lowest, low, T.Select(last, T.int32(across[1]), T.int32(all_[1])))

    def ragged(self, tiles: int) -> bool:
        """Whether a block of so many tiles may have some that do not need a position, or do not exist."""
        return self.layer.whole != self.layer.grid or self.layer.tiles % tiles != 0

    def multiplied(self, tiles: int, columns: int) -> int:
        """Tiles of all positions that blocks of `tiles` multiply, `columns` of them at once."""
        total = 0
        for start, end in map(self.range_of, range(self.layer.positions)):
            firsts = range(start - start % tiles, end, tiles)
            total += sum(up(min(end, at + tiles) - max(start, at), columns) for at in firsts)
        return total
