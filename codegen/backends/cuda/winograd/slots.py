"""Which tiles need which positions, and where these lie.

What the last position of an axis has goes into a tile's last row or column of results, and no others. So
of tiles that are lower it is neither transformed nor multiplied: each position numbers those that need it.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ....tir import T
from .layer import Domain
from .pairs import held

Expr = Any


def needing(layer: Domain[Any], position: int) -> tuple[int, int]:
    """Tiles down and across an image that need a position."""
    places = divmod(position, layer.extent[1])
    last = [at == extent - 1 for at, extent in zip(places, layer.extent, strict=True)]
    return (layer.whole if last[0] else layer.grid)[0], (layer.whole if last[1] else layer.grid)[1]


def count(layer: Domain[Any], position: int) -> int:
    """Tiles of all images that need a position."""
    batch: int = layer.spec.batch
    return batch * prod(needing(layer, position))


class Slots:
    """One tile's."""

    def __init__(self, layer: Domain[Any], tile: Expr) -> None:
        self.layer, self.tile = layer, tile
        within = held(T.truncmod(tile, prod(layer.grid)))
        self.image = held(T.truncdiv(tile, prod(layer.grid)))
        self.row, self.column = (held(f(within, layer.grid[1])) for f in (T.truncdiv, T.truncmod))

    def at(self, position: int) -> Expr:
        """Its number; that of a tile that does not need the position is another's, or nobody's."""
        rows, columns = needing(self.layer, position)
        if (rows, columns) == self.layer.grid:
            return self.tile
        return (self.image * rows + self.row) * columns + self.column

    def need(self, position: int) -> Any:
        """When it needs the position; True where all do."""
        rows, columns = needing(self.layer, position)
        down, across = self.layer.grid
        found: Any = True
        if rows < down:
            found = self.row < rows
        if columns < across:
            found = self.column < columns if found is True else T.And(found, self.column < columns)
        return found
