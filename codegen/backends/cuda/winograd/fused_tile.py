"""How one kernel computes a whole convolution in the Winograd domain: its schedule, and what it takes.

A block of threads has `tiles` tiles and `filters` filters through all channels and positions. Each of `warps`
has some of the positions, and of these all sums in registers: of each, a lane has `thread_tiles` x
`thread_filters`. Some more warps transform: in a step, inputs of 16 channels into shared memory, which has
room for two; at the end, products. What they need registers for, the others do not, and the other way around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....rounding import up
from ....targets.machine import Architecture
from ....targets.target import GpuRates, Target
from ..tile import WARP
from .layer import BLOCK, Layer
from .tile_order import TileOrder

STAGES = 2
READER_REGISTERS = 120
_WORDS = BLOCK // 4
_SPARE_REGISTERS = 48
_READ = 13.0  # instructions for each byte of transformed inputs
_WRITTEN = 8.0  # and for each product
_BUSY_WARPS = 8
_EFFICIENCY = 0.6
_SHARED_WORDS = 32


@dataclass(frozen=True)
class FusedTile:
    """One schedule, of tiles of so many positions."""

    efficiency: ClassVar[float] = _EFFICIENCY

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
    def columns(self) -> int:
        """Tiles that are multiplied at once."""
        return 1

    @property
    def multipliers(self) -> int:
        """Threads that have sums; the others transform."""
        return self.warps * WARP

    @property
    def readers(self) -> int:
        """Threads that transform."""
        return 4 * WARP

    @property
    def threads(self) -> int:
        return self.multipliers + self.readers

    @property
    def held(self) -> int:
        """Positions of a warp."""
        return self.positions // self.warps

    @property
    def step(self) -> int:
        """Blocks of channels of a step."""
        return 1

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
        return self.positions * _WORDS * self.pitch * self.step

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
    def fragments(self) -> int:
        """Registers of a thread for what is multiplied."""
        return self.thread_pitch + self.thread_filters

    @property
    def registers(self) -> int:
        return max(self.held * self.sums + self.fragments + _SPARE_REGISTERS, READER_REGISTERS)

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

    def words_multiplied(self, layer: Layer) -> int:
        """By all threads together, without what no tile needs."""
        tiles = TileOrder(layer).multiplied(self.tiles, self.columns)
        return tiles * up(layer.filters, self.filters) * layer.blocks * _WORDS

    def rate(self, gpu: GpuRates) -> float:
        """Words that a multiprocessor multiplies a cycle."""
        return gpu.dot

    @property
    def fetched(self) -> float:
        """Words that are read for each that is multiplied; of far memory, too."""
        return (self.thread_pitch + 2 * self.thread_filters) / self.sums

    def seconds(self, layer: Layer, target: Target) -> float:
        """Whole waves of blocks, DRAM or the second-level cache, whichever takes longest; and the launch."""
        gpu, conv, tasks = target.gpu, layer.spec, self.blocks(layer)
        here = -(-tasks // gpu.multiprocessors)
        weights = self.positions * layer.channels
        image = conv.batch * conv.height * conv.width * layer.channels
        moved = weights * layer.filters + image + conv.batch * conv.pixels * layer.stored * conv.result_bytes
        near = tasks * weights * (self.filters + self.tiles) / (gpu.l2_gbps * 1e9)
        busy = here * self._cycles(layer, target, here) / (gpu.clock_ghz * 1e9)
        return max(busy, near, moved / (gpu.dram_gbps * 1e9)) + gpu.launch_seconds

    def _cycles(self, layer: Layer, target: Target, here: int) -> float:
        """Of a block of threads, where a multiprocessor has so many."""
        gpu, resident = target.gpu, min(self.resident(target.cuda.architecture), here)
        transformers = min(gpu.fma, self.readers * resident)  # a warp has an instruction a cycle
        read = _READ * self.positions * self.tiles * layer.channels / transformers
        products = self.positions * self.tiles * self.filters * layer.channels / 4
        multiplied = max(products / self.rate(gpu), products * self.fetched / _SHARED_WORDS)
        written = _WRITTEN * self.positions * self.tiles * self.filters / transformers
        hidden = min(1, resident * self.warps / _BUSY_WARPS)
        return (max(read / _EFFICIENCY, multiplied / self.efficiency) + written / _EFFICIENCY) / hidden
