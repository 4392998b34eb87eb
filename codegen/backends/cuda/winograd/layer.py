"""A convolution in the Winograd domain as a GPU's kernels see it: sizes, and where everything lies.

Between the kernels lie the transformed inputs V, as (position, block of channels, tile, channels of a block),
and the products, of bytes as float32, as (position, tile, filter). A position is a place in the input's tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, TypeVar

from secateur.ir.winograd import Winograd, half_winograd, winograd

from ....primitives.conv.int8_spec import LinearSpec
from ....primitives.conv.winograd.grid import TileGrid
from ....primitives.conv.winograd.places import origin
from ....primitives.specs import ConvSpec, layout_block
from ....rounding import up
from ....tir import T
from ..block import WORDS

Expr = Any
PlaceOf = Callable[[Expr], tuple[Expr, Expr, Expr]]
"""From a tile's number to the image, row and column of its first result."""
BLOCK = 16  # channels in bytes
Of = TypeVar("Of", bound=ConvSpec, covariant=True)


@dataclass(frozen=True)
class Domain(TileGrid[Of]):
    """Channels lie in whole blocks, which have as many as the input's layout says."""

    @cached_property
    def block(self) -> int:
        """Channels of a block."""
        return layout_block(self.spec.in_layout)

    @cached_property
    def blocks(self) -> int:
        """Of channels."""
        return -(-self.spec.channels // self.block)

    @cached_property
    def channels(self) -> int:
        return self.blocks * self.block

    @cached_property
    def filters(self) -> int:
        """In whole blocks."""
        return up(self.spec.filters, self.block)

    @cached_property
    def stored(self) -> int:
        """Filters that the result has place for."""
        return up(self.spec.filters, layout_block(self.spec.out_layout))

    @property
    def covered(self) -> bool:
        """Whether every element of every input tile lies in the image."""
        sizes = (self.spec.height, self.spec.width)
        reached = [axis.start(axis.count - 1) + axis.size + 2 for axis in (self.down, self.across)]
        return not any(self.spec.pads) and all(r <= s for r, s in zip(reached, sizes, strict=True))

    @property
    def element_bytes(self) -> int:
        """Of inputs, transformed or not, and weights."""
        return self.spec.element_bytes

    @property
    def v_bytes(self) -> int:
        """Of the transformed inputs."""
        return self.positions * self.tiles * self.channels * self.element_bytes

    @property
    def product_bytes(self) -> int:
        """Of the products, those of bytes being float32."""
        size = 2 if self.element_bytes == 2 else 4
        return size * self.positions * self.tiles * self.filters

    def place(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        """Image, row and column of the first result of a tile."""
        within = prod(self.grid)
        inner = T.truncmod(tile, within)
        row, column = T.truncdiv(inner, self.grid[1]), T.truncmod(inner, self.grid[1])
        return T.truncdiv(tile, within), *origin(self, row, column)


@dataclass(frozen=True)
class Layer(Domain[LinearSpec]):
    """Of bytes. `zero_point` is the input's."""

    zero_point: int


@dataclass(frozen=True)
class FloatLayer(Domain[ConvSpec]):
    """Of float32 or binary16, with the matrices of processors."""

    @property
    def dtype(self) -> str:
        return self.spec.dtype

    @property
    def matrices(self) -> Winograd:
        return half_winograd(self.tile[0]) if self.element_bytes == 2 else winograd(self.tile[0])

    @property
    def lanes(self) -> int:
        """Channels or filters of a thread that transforms: of large tiles few, which fill its registers."""
        return 8 // self.element_bytes if self.positions == 36 else WORDS
