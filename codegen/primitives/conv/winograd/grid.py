"""The tiles that cover a convolution's result, on any machine.

They are counted so that those that need a position of a tile are neighbours, through all images: first those
that are lower across, which do not need the last position across, then those that need all, then those that
are lower down, which do not need the last position down, and those that are both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Generic, TypeVar

from secateur.ir.support.tiles import Tiles

from ...specs import ConvSpec

Spec = TypeVar("Spec", bound=ConvSpec, covariant=True)


@dataclass(frozen=True)
class TileGrid(Generic[Spec]):
    """`tile` is of the result: rows and columns."""

    spec: Spec
    tile: tuple[int, int]

    @cached_property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of an input tile."""
        return self.tile[0] + self.taps[0] - 1, self.tile[1] + self.taps[1] - 1

    @cached_property
    def taps(self) -> tuple[int, int]:
        """Rows and columns of the kernel, or where it has strides of each of its phases."""
        (rows, columns), (down, across) = self.spec.kernel, self.spec.strides
        return -(-rows // down), -(-columns // across)

    @cached_property
    def positions(self) -> int:
        """Places in an input tile."""
        return prod(self.extent)

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Tiles down and across one image."""
        return self.down.count, self.across.count

    @cached_property
    def whole(self) -> tuple[int, int]:
        """Those down and across that need the last position of the axis: the others are lower."""
        return self.down.whole, self.across.whole

    @cached_property
    def down(self) -> Tiles:
        return Tiles(self.spec.out_height, self.tile[0])

    @cached_property
    def across(self) -> Tiles:
        return Tiles(self.spec.out_width, self.tile[1])

    @cached_property
    def tiles(self) -> int:
        """Of all images."""
        return self.spec.batch * prod(self.grid)

    @cached_property
    def ends(self) -> tuple[int, int, int, int]:
        """Where tiles end that are lower across, that are not lower, that are lower down, and all."""
        (down, across), (rows, columns), batch = self.grid, self.whole, self.spec.batch
        first = batch * rows * (across - columns)
        whole = first + batch * rows * columns
        return first, whole, whole + batch * (down - rows) * columns, self.tiles

    def needing(self, lowest: bool, last: bool) -> tuple[int, int]:
        """The first tile that needs a position, and the end of those that do.

        Of positions that are the `lowest` of their column, and the `last` of their row.
        """
        first, whole, lower, every = self.ends
        return first if last else 0, whole if lowest else lower if last else every
