"""How a matrix product is cut for a GPU: the frozen schedule of a kernel, and what it takes by the model.

A block of threads computes `pixels` x `filters` results, a thread `thread_pixels` x `thread_filters` of them
in registers. A step brings 16 bytes of `blocks` blocks of channels for each pixel and filter into shared
memory, which has room for two, so that the next step's loads are under way while this one multiplies; where
there is room for more of them, `depth`, memory is copied there past the registers, and several steps' copies
are under way.

Where few blocks would have long sums, each sum is of `splits` blocks, whose partial sums lie in memory for a
second kernel to add.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...rounding import up
from ...targets.machine import Architecture
from ...targets.target import Target

BLOCK_BYTES = 16  # of a pixel's block of channels
STAGES = 2
WARP = 32
_SPARE_REGISTERS = 48  # addresses, counters, requantization
_BUSY_WARPS = 8  # resident on a multiprocessor, from which on latencies are hidden
_SHARED_WORDS = 32  # that a multiprocessor's shared memory gives a cycle


@dataclass(frozen=True)
class Tile:
    """One schedule; see above."""

    pixels: int
    filters: int
    thread_pixels: int
    thread_filters: int
    blocks: int = 1
    splits: int = 1
    depth: int = STAGES

    def __post_init__(self) -> None:
        self._check_depth()
        if self.pixels % self.thread_pixels or self.filters % self.thread_filters or self.thread_filters % 4:
            raise ValueError(f"{self}: threads do not divide the block, or filters are no vectors")

    def _check_depth(self) -> None:
        if self.depth != STAGES and not self.copies:
            raise ValueError(f"{self}: its kernel has room for {STAGES} steps")

    @property
    def threads(self) -> int:
        return (self.pixels // self.thread_pixels) * (self.filters // self.thread_filters)

    @property
    def words(self) -> dict[str, str]:
        """What cuts the work (see `Primitive.tiling`)."""
        found = {
            "block of threads": f"{self.threads}: {self.pixels} pixels x {self.filters} filters",
            "thread": f"{self.thread_pixels} pixels x {self.thread_filters} filters",
        }
        parts = {"parts of a sum": str(self.splits)} if self.splits > 1 else {}
        return found | parts | ({"steps in shared memory": str(self.depth)} if self.copies else {})

    @property
    def copies(self) -> bool:
        """Whether its kernel may copy memory into shared memory past the registers."""
        return False

    @property
    def thread_pitch(self) -> int:
        """Words from one thread's pixels to the next one's, which are read four at a time."""
        return self.thread_pixels if self.thread_pixels < 4 else -(-self.thread_pixels // 4) * 4

    @property
    def pitch(self) -> int:
        """Words of a block's pixels in shared memory, one from each."""
        return self.pixels // self.thread_pixels * self.thread_pitch

    def filled(self, filters: int) -> bool:
        """Whether so many filters fill half of the tiles that they take."""
        return up(filters, self.filters) <= 2 * filters

    @property
    def sums(self) -> int:
        """Of a thread."""
        return self.thread_pixels * self.thread_filters

    @property
    def stage_words(self) -> int:
        return (self.pitch + self.filters) * self.blocks * BLOCK_BYTES // 4

    @property
    def shared_bytes(self) -> int:
        return self.depth * self.stage_words * 4

    @property
    def registers(self) -> int:
        """An estimate of what a thread takes; they are given by eights."""
        return up(self.sums + self.thread_pitch + self.thread_filters + self.loads + _SPARE_REGISTERS, 8)

    @property
    def loads(self) -> int:
        """Registers for a step's loads of 16 bytes, and for where pixels lie."""
        pixels, filters = (-(-rows * self.blocks // self.threads) for rows in (self.pixels, self.filters))
        return (4 * (pixels + filters) if self.depth == STAGES else 0) + 3 * pixels

    @property
    def fetched(self) -> int:
        """Words that all threads read of shared memory for each word of channels."""
        return self.threads * (self.thread_pitch + self.thread_filters)

    @property
    def efficiency(self) -> float:
        """Of the multiply rate, in a step whose loads are hidden."""
        return 0.75

    def rate(self, work: Work) -> float:
        """Words that a multiprocessor multiplies a cycle."""
        return work.rate

    def resident(self, architecture: Architecture) -> int:
        """Blocks that a multiprocessor holds at once; 0 where none fits."""
        return architecture.resident(self.threads, self.registers, self.shared_bytes)


@dataclass(frozen=True)
class Work:
    """A matrix product of `pixels` x `filters` results, each of `steps` taps and blocks of channels.

    `rate` is the words that a multiprocessor multiplies a cycle, `matrix_rate` those by matrix instructions,
    `moved` the bytes from and to DRAM. There may be several such products, one for each of `images`; where
    some have fewer pixels, `parts` are pixels and images. A thread has registers for `most_sums` sums.
    There is memory of `spare_bytes` for partial sums. `deep`: more than two steps may lie in shared memory.
    """

    pixels: int
    filters: int
    steps: int
    rate: float
    moved: float
    images: int = 1
    most_sums: int = 64
    matrix_rate: float = 0.0
    parts: tuple[tuple[int, int], ...] = ()
    spare_bytes: float = 0.0
    deep: bool = False

    def tasks(self, tile: Tile) -> int:
        parts = self.parts or ((self.pixels, self.images),)
        rows = sum(images * -(-pixels // tile.pixels) for pixels, images in parts)
        return rows * -(-self.filters // tile.filters) * tile.splits

    def partial_bytes(self, tile: Tile) -> int:
        """Of sums that another kernel adds."""
        return 4 * tile.splits * self.images * self.pixels * self.filters if tile.splits > 1 else 0

    def products(self, tile: Tile) -> int:
        """Pixels times filters, those included that fill up tiles."""
        return self.tasks(tile) * tile.pixels * tile.filters

    def seconds(self, tile: Tile, target: Target) -> float:
        """Whole waves of blocks, DRAM or the second-level cache, whichever takes longest; and the launch."""
        gpu, tasks = target.gpu, self.tasks(tile)
        resident = tile.resident(target.cuda.architecture)
        here = -(-tasks // gpu.multiprocessors)  # blocks of the multiprocessor that has most
        warps = min(resident, here) * -(-tile.threads // WARP)
        words = self._steps(tile) * BLOCK_BYTES // 4
        products = tile.pixels * tile.filters * words
        waiting = warps * (tile.depth - 1)  # steps whose operands are on their way
        hidden = tile.efficiency * min(1, waiting / _BUSY_WARPS)
        cycles = max(products / tile.rate(self), words * tile.fetched / _SHARED_WORDS) / hidden
        near = tasks * (tile.pixels + tile.filters) * self._steps(tile) * BLOCK_BYTES
        busy = here * cycles / (gpu.clock_ghz * 1e9)
        far = max(self.moved / (gpu.dram_gbps * 1e9), near / (gpu.l2_gbps * 1e9))
        return max(busy, far) + gpu.launch_seconds + self._added(tile, target)

    def _steps(self, tile: Tile) -> int:
        """Of the block of threads that has most."""
        return -(-self.steps // (tile.blocks * tile.splits)) * tile.blocks

    def _added(self, tile: Tile, target: Target) -> float:
        """Seconds to write partial sums, and to read them in another kernel."""
        gpu, partial = target.gpu, self.partial_bytes(tile)
        if not partial:
            return 0.0
        gbps = gpu.l2_gbps if partial <= gpu.l2_bytes / 2 else gpu.dram_gbps
        return 2 * partial / (gbps * 1e9) + gpu.launch_seconds


_SHAPES = (
    (196, 32, 7, 4), (98, 64, 7, 8), (98, 64, 7, 4), (98, 32, 7, 4), (49, 64, 7, 4), (49, 32, 7, 4),
    (56, 64, 7, 4), (56, 32, 7, 4), (28, 64, 7, 4), (98, 16, 7, 4), (49, 16, 7, 4), (16, 64, 4, 4),
    (16, 64, 2, 4), (16, 32, 2, 4), (4, 128, 1, 4), (4, 64, 1, 4), (16, 16, 1, 4),
    (128, 64, 8, 8), (64, 64, 8, 4), (64, 32, 4, 4), (32, 64, 4, 4), (32, 32, 4, 4), (128, 32, 8, 4),
    (128, 16, 4, 4), (64, 16, 2, 4), (32, 16, 1, 4), (128, 8, 2, 4), (128, 4, 1, 4), (128, 128, 8, 8),
)  # fmt: skip
_TIGHT = ((49, 64, 7, 4),)  # of which ptxas spills a register for sm_53 and sm_62, to hold one more block


def candidates(filters: int, blocks: int, architecture: Architecture) -> Iterator[Tile]:
    """Tiles that `filters` fill, and that divide `blocks` of channels, and fit."""
    for shape in _SHAPES:
        for step in () if shape in _TIGHT and not architecture.dot else (2, 1):
            tile = Tile(*shape, step)
            if tile.filled(filters) and blocks % step == 0 and tile.resident(architecture):
                yield tile
