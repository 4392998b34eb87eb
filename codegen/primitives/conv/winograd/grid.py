"""The tiles that cover a convolution's result, on any machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Generic, TypeVar

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
        return -(-self.spec.out_height // self.tile[0]), -(-self.spec.out_width // self.tile[1])

    @cached_property
    def tiles(self) -> int:
        """Of all images."""
        return self.spec.batch * prod(self.grid)
