"""Where the tiles of a Winograd convolution lie, in TIR, and what of them is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from secateur.codegen.tir import T

from .plan import Shape

Expr = Any


@dataclass(frozen=True)
class Places:
    """Of tiles that are counted row by row through all images."""

    shape: Shape[Any]

    def of(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        """Its image, row and column."""
        down, across = self.shape.grid
        batch = self.shape.spec.batch
        image: Expr = 0 if batch == 1 else tile // (down * across)
        inner = tile if batch == 1 else tile % (down * across)
        return image, inner // across, inner % across

    def top(self, row: Expr) -> Expr:
        """The first row of results of a row of tiles."""
        lower = T.max(0, row - self.shape.whole) if self.shape.lowered else 0
        return row * self.shape.tile[0] - lower

    def results(self, row: Expr, column: Expr) -> tuple[Expr | None, Expr | None]:
        """How many rows and columns of results, at least, a tile may have; None where every tile has all."""
        spec, (tall, wide) = self.shape.spec, self.shape.tile
        high = spec.out_height - row * tall if spec.out_height % tall else None
        broad = spec.out_width - column * wide if spec.out_width % wide else None
        return T.Select(row < self.shape.whole, tall, tall - 1) if self.shape.lowered else high, broad

    def needed(self, position: Expr, first: Expr, count: Expr) -> Expr | None:
        """Of `count` tiles from `first` on those whose products at a position count, the first ones; None for
        all at any position."""
        shape = self.shape
        if not shape.short:
            return None
        whole = T.max(0, T.min(count, shape.whole * shape.grid[1] - first))
        return T.Select(position < shape.positions - shape.extent[1], count, whole)
