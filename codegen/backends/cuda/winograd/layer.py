"""A convolution in the Winograd domain as a GPU's kernels see it: sizes, and where everything lies.

Between the kernels lie the transformed inputs V, bytes as (position, block of 16 channels, tile, 16), and the
products, floats as (position, tile, filter). A position is a place in the input's tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from ....primitives.conv.int8_spec import LinearSpec
from ....primitives.conv.winograd.grid import TileGrid
from ....primitives.specs import layout_block
from ....rounding import up
from ....tir import T

Expr = Any
BLOCK = 16  # channels


@dataclass(frozen=True)
class Layer(TileGrid[LinearSpec]):
    """`zero_point` is the input's."""

    zero_point: int

    @cached_property
    def blocks(self) -> int:
        """Of channels."""
        return up(self.spec.channels, BLOCK) // BLOCK

    @cached_property
    def channels(self) -> int:
        return self.blocks * BLOCK

    @cached_property
    def filters(self) -> int:
        """In whole blocks."""
        return up(self.spec.filters, BLOCK)

    @cached_property
    def stored(self) -> int:
        """Filters that the result has place for."""
        return up(self.spec.filters, layout_block(self.spec.out_layout))

    @property
    def covered(self) -> bool:
        """Whether every element of every input tile lies in the image."""
        sizes = (self.spec.height, self.spec.width)
        reached = [n * m + 2 for n, m in zip(self.grid, self.tile, strict=True)]
        return not any(self.spec.pads) and all(r <= s for r, s in zip(reached, sizes, strict=True))

    @property
    def v_bytes(self) -> int:
        """Of the transformed inputs."""
        return self.positions * self.tiles * self.channels

    @property
    def product_bytes(self) -> int:
        return 4 * self.positions * self.tiles * self.filters

    def place(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        """Image, row and column of the first result of a tile."""
        within = prod(self.grid)
        inner = T.truncmod(tile, within)
        row, column = T.truncdiv(inner, self.grid[1]), T.truncmod(inner, self.grid[1])
        return T.truncdiv(tile, within), row * self.tile[0], column * self.tile[1]
