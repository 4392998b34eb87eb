"""How one kernel computes a whole convolution in the Winograd domain: its schedule, and what it takes.

A block of threads has `tiles` tiles and `filters` filters through all channels and positions. Each of `warps`
has some of the positions, and of these all sums in registers: of each, a lane has `thread_tiles` x
`thread_filters`. Four more warps transform: in a step, inputs of 16 channels into shared memory, which has
room for two; at the end, products. What they need registers for, the others do not, and the other way around.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ....rounding import up
from ....targets.machine import Architecture
from ....targets.target import Target
from ..tile import WARP
from .layer import BLOCK, Layer

STAGES = 2
READERS = 4 * WARP
_READER_REGISTERS = 120
_WORDS = BLOCK // 4
_SPARE_REGISTERS = 48
_READ = 13.0  # instructions for each byte of transformed inputs
_WRITTEN = 8.0  # and for each product
_BUSY_WARPS = 8
_EFFICIENCY = 0.6
_SHARED_WORDS = 32
_MOST_WASTE = 1.2  # times the tiles there are


@dataclass(frozen=True)
class FusedTile:
    """One schedule, of tiles of so many positions."""

    positions: int
    tiles: int
    filters: int
    thread_tiles: int
    thread_filters: int
    warps: int

    def __post_init__(self) -> None:
        lanes = (self.tiles // self.thread_tiles) * (self.filters // self.thread_filters)
        if lanes != WARP or self.tiles % self.thread_tiles or self.thread_filters % 4:
            raise ValueError(f"{self}: a warp's lanes do not have all tiles and filters once")
        if self.positions % self.warps:
            raise ValueError(f"{self}: warps have different numbers of positions")

    @property
    def multipliers(self) -> int:
        """Threads that have sums; the others transform."""
        return self.warps * WARP

    @property
    def threads(self) -> int:
        return self.multipliers + READERS

    @property
    def held(self) -> int:
        """Positions of a warp."""
        return self.positions // self.warps

    @property
    def sums(self) -> int:
        """Of a thread, for each position."""
        return self.thread_tiles * self.thread_filters

    @property
    def thread_pitch(self) -> int:
        """Words from one thread's tiles to the next one's, which are read four at a time."""
        return -(-self.thread_tiles // 4) * 4

    @property
    def pitch(self) -> int:
        return self.tiles // self.thread_tiles * self.thread_pitch

    @property
    def stage_words(self) -> int:
        return self.positions * _WORDS * self.pitch

    @property
    def round(self) -> int:
        """Filters whose products lie in shared memory at once for the output transform."""
        return next(n for n in (16, 8, 4) if n == 4 or self._products(n) <= STAGES * self.stage_words)

    def _products(self, filters: int) -> int:
        return self.positions * self.tiles * filters

    @property
    def shared_bytes(self) -> int:
        return 4 * max(STAGES * self.stage_words, self._products(self.round))

    @property
    def registers(self) -> int:
        multiplier = self.held * self.sums + self.thread_pitch + self.thread_filters + _SPARE_REGISTERS
        return max(multiplier, _READER_REGISTERS)

    @property
    def words(self) -> dict[str, str]:
        return {
            "block of threads": f"{self.threads}: {self.tiles} tiles x {self.filters} filters",
            "warp": f"{self.held} of {self.positions} positions",
            "thread": f"{self.thread_tiles} tiles x {self.thread_filters} filters",
        }

    def resident(self, architecture: Architecture) -> int:
        """Blocks that a multiprocessor holds at once; 0 where none fits."""
        threads = up(self.threads, 4 * WARP)  # registers are given to four warps at a time
        return architecture.resident(threads, self.registers, self.shared_bytes)

    def blocks(self, layer: Layer) -> int:
        return -(-layer.tiles // self.tiles) * -(-layer.filters // self.filters)

    def multiplied(self, layer: Layer) -> int:
        """Tiles times filters, those included that fill up blocks."""
        return self.blocks(layer) * self.tiles * self.filters

    def seconds(self, layer: Layer, target: Target) -> float:
        """Whole waves of blocks, DRAM or the second-level cache, whichever takes longest; and the launch."""
        gpu, conv, tasks = target.gpu, layer.spec, self.blocks(layer)
        here = -(-tasks // gpu.multiprocessors)
        warps = min(self.resident(target.cuda.architecture), here) * self.warps
        read = _READ * self.positions * self.tiles * layer.channels / gpu.fma
        products = self.positions * self.tiles * self.filters * layer.channels / 4
        fetched = products * (self.thread_pitch + 2 * self.thread_filters) / self.sums  # of far memory, too
        multiplied = max(products / gpu.dot, fetched / _SHARED_WORDS)
        written = _WRITTEN * self.positions * self.tiles * self.filters / gpu.fma
        cycles = (max(read, multiplied) + written) / (_EFFICIENCY * min(1, warps / _BUSY_WARPS))
        weights = self.positions * layer.channels
        image = conv.batch * conv.height * conv.width * layer.channels
        moved = weights * layer.filters + image + conv.batch * conv.pixels * layer.stored * conv.result_bytes
        near = tasks * weights * (self.filters + self.tiles) / (gpu.l2_gbps * 1e9)
        busy = here * cycles / (gpu.clock_ghz * 1e9)
        return max(busy, near, moved / (gpu.dram_gbps * 1e9)) + gpu.launch_seconds


_SHAPES = (
    (28, 64, 7, 8),
    (28, 32, 7, 4),
    (16, 64, 4, 8),
    (16, 32, 4, 4),
    (32, 32, 8, 4),
    (8, 64, 2, 8),
    (8, 64, 4, 4),
    (10, 64, 5, 4),
    (4, 64, 2, 4),
)
_SHAPES_OF_FEW = ((32, 16, 4, 4), (56, 16, 7, 4))
_WARPS = {16: (8, 16), 24: (8, 12), 36: (9, 12)}


def candidates(layer: Layer, architecture: Architecture) -> list[FusedTile]:
    """Schedules that fit; of these the ones whose blocks are full, if there are any.

    Where the model sees no difference, what is multiplied for nothing still takes energy.
    """
    found = list(_fitting(layer, architecture))
    full = [tile for tile in found if tile.multiplied(layer) <= _MOST_WASTE * layer.tiles * layer.filters]
    return full or found


def _fitting(layer: Layer, architecture: Architecture) -> Iterator[FusedTile]:
    """Schedules that divide the filters, and fit, where four bytes times four is one instruction."""
    if not architecture.dot:
        return
    for shape in (*_SHAPES, *_SHAPES_OF_FEW):
        for warps in _WARPS[layer.positions]:
            tile = FusedTile(layer.positions, *shape, warps)
            if layer.filters % tile.filters == 0 and tile.resident(architecture):
                yield tile


def fastest(layer: Layer, target: Target) -> FusedTile | None:
    """By the model; None where none fits."""
    found = candidates(layer, target.cuda.architecture)
    return min(found, key=lambda tile: tile.seconds(layer, target), default=None)
