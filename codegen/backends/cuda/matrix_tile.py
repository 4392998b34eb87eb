"""Schedules of matrix products by matrix instructions: what a warp multiplies, and what that takes.

An instruction multiplies 16 filters by 8 pixels, over two blocks of 16 channels, or one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from ...targets.machine import Architecture
from .matrix import Wmma
from .tile import WARP, Tile, Work

ROWS, COLUMNS = 16, 8  # filters and pixels of an instruction
PAIR = 2 * ROWS  # filters of two instructions, of which a thread has four side by side
_SPARE_REGISTERS = 56


@dataclass(frozen=True)
class MatrixTile(Tile):
    """What a thread has of other tiles, a warp has of these."""

    def __post_init__(self) -> None:
        self._check_depth()
        if self.pixels % self.thread_pixels or self.filters % self.thread_filters:
            raise ValueError(f"{self}: warps do not divide the block")
        if self.thread_pixels % self.columns or self.thread_filters % self.rows:
            raise ValueError(f"{self}: a warp has multiples of {self.columns} pixels and {self.rows} filters")

    @property
    def columns(self) -> int:
        """Pixels of an instruction."""
        return COLUMNS

    @property
    def rows(self) -> int:
        """Filters of the instructions whose results are stored together."""
        return PAIR

    @property
    def copies(self) -> bool:
        return True

    @property
    def threads(self) -> int:
        return super().threads * WARP

    @property
    def words(self) -> dict[str, str]:
        warp = {"warp": f"{self.thread_pixels} pixels x {self.thread_filters} filters"}
        found = super().words
        del found["thread"]
        return {**found, **warp}

    @property
    def pitch(self) -> int:
        return self.pixels

    @property
    def sums(self) -> int:
        return self.thread_pixels * self.thread_filters // WARP

    @property
    def fragments(self) -> int:
        """Registers of a thread for what is multiplied."""
        halves = min(self.blocks, 2)
        return halves * (self.thread_filters // COLUMNS + self.thread_pixels // COLUMNS)

    @property
    def registers(self) -> int:
        return self.sums + self.fragments + self.loads + _SPARE_REGISTERS

    @property
    def fetched(self) -> int:
        return self.threads // WARP * (self.thread_pixels + self.thread_filters)

    @property
    def efficiency(self) -> float:
        return 0.5

    def rate(self, work: Work) -> float:
        return work.matrix_rate


@dataclass(frozen=True)
class WmmaTile(MatrixTile):
    """By instructions whose operands only they can load: 16 filters by 16 pixels over a block of channels.

    Where they are `tall`, 32 filters by 8 pixels, of which fewer are for nothing where there are few.
    So that the results can be stored, each warp puts those of an instruction into shared memory.
    """

    tall: bool = False

    @property
    def columns(self) -> int:
        return self.wmma.columns

    @property
    def rows(self) -> int:
        return self.wmma.rows

    @property
    def wmma(self) -> Wmma:
        return Wmma(self.tall)

    @property
    def copies(self) -> bool:
        return False

    @property
    def fragments(self) -> int:
        rows, columns = self.thread_filters // self.rows, self.thread_pixels // self.columns
        return self.wmma.left * rows + self.wmma.right * columns

    @property
    def shared_bytes(self) -> int:
        return max(super().shared_bytes, 4 * ROWS * ROWS * self.threads // WARP)


_SHAPES = (
    (112, 64, 56, 32), (128, 64, 32, 32), (128, 128, 64, 32), (64, 64, 32, 32), (64, 128, 64, 32),
    (40, 128, 40, 32), (40, 64, 40, 32), (56, 64, 56, 32), (56, 128, 56, 32), (56, 32, 56, 32),
    (32, 64, 32, 32), (32, 128, 32, 32), (16, 64, 16, 32), (16, 128, 16, 32), (8, 128, 8, 32), (8, 64, 8, 32),
    (128, 32, 32, 32), (64, 32, 16, 32),
)  # fmt: skip
_WMMA_SHAPES = (
    (128, 64, 32, 32), (64, 64, 32, 32), (64, 128, 64, 32), (128, 128, 64, 32),
    (32, 64, 32, 32), (32, 128, 32, 32), (32, 64, 16, 32), (16, 64, 16, 16), (16, 128, 16, 32),
    (64, 32, 32, 16), (128, 32, 32, 32), (32, 32, 16, 16), (64, 16, 32, 16), (128, 16, 32, 16),
)  # fmt: skip
_TALL_SHAPES = (
    (56, 64, 56, 32), (40, 64, 40, 32), (40, 128, 40, 32), (32, 64, 16, 32), (16, 64, 16, 32),
    (16, 128, 16, 32), (8, 64, 8, 32), (8, 128, 8, 32),
)  # fmt: skip
_TIGHT = ((40, 128, 40, 32), (40, 64, 40, 32))  # with four blocks a step ptxas has a register too few


def matrix_candidates(filters: int, blocks: int, architecture: Architecture) -> Iterator[MatrixTile]:
    """Those that `filters` fill, that divide `blocks` of channels, and fit, where there are any."""
    if not architecture.matrix:
        return
    kind, shapes = (MatrixTile, _SHAPES) if architecture.matrix == "mma" else (WmmaTile, _WMMA_SHAPES)
    made = (kind(*shape, step) for shape in shapes for step in ((2, 1) if shape in _TIGHT else (4, 2, 1)))
    for tile in made if architecture.matrix == "mma" else chain(made, _tall()):
        if tile.filled(filters) and blocks % tile.blocks == 0 and tile.resident(architecture):
            yield tile


def _tall() -> Iterator[WmmaTile]:
    for shape in _TALL_SHAPES:
        yield from (WmmaTile(*shape, step, tall=True) for step in (2, 1))


def order(filters: int) -> list[int]:
    """The filter of each row of a matrix of so many: a thread's rows are four filters side by side."""
    found = []
    for row in range(filters):
        pair, within = divmod(row, PAIR)
        half, place = divmod(within, ROWS)
        found.append(pair * PAIR + place % COLUMNS * 4 + place // COLUMNS + 2 * half)
    return found
