"""Schedules of the one kernel whose products are made by matrix instructions.

An instruction multiplies 16 filters by 8 tiles, or 16; a warp has all tiles and filters of a block at its
positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....rounding import up
from ....targets.target import GpuRates
from ..matrix import Wmma
from ..matrix_tile import COLUMNS, PAIR
from ..tile import WARP
from .fused_tile import READER_REGISTERS, FusedTile

_REGISTERS = 1 << 16  # of a multiprocessor
_SPARE_REGISTERS, _LIKED_REGISTERS = 28, 40
_PRODUCTS = 9216  # words for which there is always room


@dataclass(frozen=True)
class MatrixFusedTile(FusedTile):
    """`thread_tiles` and `thread_filters` are a warp's; there are `reader_warps`, and a step is of
    `step_blocks` blocks of channels."""

    efficiency: ClassVar[float] = 0.5

    reader_warps: int = 4
    step_blocks: int = 1

    def __post_init__(self) -> None:
        if (self.thread_tiles, self.thread_filters) != (self.tiles, self.filters):
            raise ValueError(f"{self}: a warp has all tiles and filters")
        if self.tiles % self.columns or self.filters % self.rows:
            raise ValueError(f"{self}: a warp has multiples of {self.columns} tiles and {self.rows} filters")
        if self.positions % self.warps:
            raise ValueError(f"{self}: warps have different numbers of positions")

    @property
    def columns(self) -> int:
        return COLUMNS

    @property
    def rows(self) -> int:
        """Filters of the instructions whose products are stored together."""
        return PAIR

    @property
    def readers(self) -> int:
        return self.reader_warps * WARP

    @property
    def step(self) -> int:
        return self.step_blocks

    @property
    def thread_pitch(self) -> int:
        return self.tiles

    @property
    def sums(self) -> int:
        return self.tiles * self.filters // WARP

    @property
    def fragments(self) -> int:
        return self.step * (2 + self.tiles // COLUMNS)

    @property
    def registers(self) -> int:
        """ptxas takes what a block may have, and makes do with less than it would like."""
        needed, most = (
            self.held * self.sums + self.fragments,
            _REGISTERS // up(self.threads, 4 * WARP) // 8 * 8,
        )
        liked = max(needed + _LIKED_REGISTERS, READER_REGISTERS + 8)
        return max(min(liked, most), needed + _SPARE_REGISTERS)

    @property
    def round(self) -> int:
        most = 2 * self.stage_words
        return next(n for n in (32, 16, 8, 4) if n == 4 or self._products(n) <= max(most, _PRODUCTS))

    @property
    def words(self) -> dict[str, str]:
        found = {**super().words, "warps that transform": str(self.reader_warps)}
        found.pop("thread")
        return found

    def rate(self, gpu: GpuRates) -> float:
        return gpu.matrix / 4

    @property
    def fetched(self) -> float:
        """Inputs from shared memory, weights past it."""
        return (self.tiles + 2 * self.filters) / (self.tiles * self.filters)


@dataclass(frozen=True)
class WmmaFusedTile(MatrixFusedTile):
    """By instructions whose sums only they can store: 16 filters of 16 tiles side by side, or 32 of 8."""

    tall: bool = False

    @property
    def wmma(self) -> Wmma:
        return Wmma(self.tall)

    @property
    def columns(self) -> int:
        return self.wmma.columns

    @property
    def rows(self) -> int:
        return self.wmma.rows

    @property
    def fragments(self) -> int:
        return self.wmma.left + self.wmma.right

    @property
    def round(self) -> int:
        return self.rows
