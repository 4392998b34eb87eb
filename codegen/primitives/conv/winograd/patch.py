"""The part of an image that a tile reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...specs import ConvSpec, layout_block

Expr = Any
Buffer = Any


@dataclass(frozen=True)
class Patch:
    """The rows `top`... and columns `left`... of an image that a tile reads, from channel `channel` on.

    Channels are counted through all images. With strides a tile reads every second row, say; `extent` counts
    those that it reads.
    """

    spec: ConvSpec
    extent: tuple[int, int]
    data: Buffer
    channel: Expr
    top: Expr
    left: Expr
    end: Expr  # the first channel of the next image

    def pixel(self, channel: int, row: Expr, column: Expr) -> Expr:
        """Where the channels `channel`... of a pixel of the image lie."""
        block, first = layout_block(self.spec.in_layout), self.channel + channel
        plane = first // block * self.spec.height
        return ((plane + row) * self.spec.width + column) * block + first % block

    def inside(self, row: Expr, column: Expr) -> Expr:
        """Whether a pixel is one of the image."""
        return (row >= 0) & (row < self.spec.height) & (column >= 0) & (column < self.spec.width)

    def whole(self, scattered: bool) -> Expr:
        """Whether all that a tile reads lies in the image; `scattered` phases are read from one pixel on."""
        (high, broad), (down, across) = self.extent, self.spec.strides
        more = (down, across) if scattered else (1, 1)
        bottom = self.top + (high - 1) * down + more[0]
        right = self.left + (broad - 1) * across + more[1]
        within = (bottom <= self.spec.height) & (right <= self.spec.width)
        return (self.top >= 0) & (self.left >= 0) & within
