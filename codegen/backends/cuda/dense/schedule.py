"""How a dense layer is cut for a GPU: the frozen schedule of a kernel, and its time by the model.

A result's sum is that of `lanes` threads, each of which takes 16 bytes of inputs in turn; so the threads of a
warp read weights side by side. A thread has `outputs` sums for each of `rows` of the batch, to read inputs
once for several weights and weights once for several rows. Where there are few results, a sum is of `splits`
blocks of threads, whose partial sums lie in memory for a second kernel to add.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from ....rounding import up
from ....targets.target import Target
from ..rates import word_rate
from ..tile import WARP

THREADS = 128
CHUNK = 16  # bytes of an access
WORDS = 4  # of it
PARTS = 8  # of a sum, that threads add before one adds these
_MOST_SUMS = 32  # of a thread
_LATENCY = 600.0  # cycles that memory takes
_ENDING = 300.0  # cycles to add what threads have, and to finish
_MOST_PLAIN_SUMS = 8  # where bytes are multiplied one by one
_SPARE_REGISTERS = 48
_LOOSE_REGISTERS = 40  # more where bytes are taken apart or put together
_NEAR_BYTES = 64  # that a multiprocessor's first-level cache gives a cycle
_EFFICIENCY = 0.6  # of the multiply rate
_PLAIN = 0.5  # of a multiprocessor's instructions, that are no products


@dataclass(frozen=True)
class Product:
    """(batch, inputs) by (inputs, outputs), row-major; there is memory of `spare_bytes` for partial sums."""

    batch: int
    inputs: int
    outputs: int
    element_bytes: int
    spare_bytes: int | None = None

    @property
    def elements(self) -> int:
        """Of an access."""
        return CHUNK // self.element_bytes

    @property
    def chunks(self) -> int:
        """Accesses to the inputs of a row."""
        return -(-self.inputs // self.elements)

    @property
    def loose(self) -> bool:
        """Whether rows of inputs are not whole accesses."""
        return self.inputs % self.elements != 0

    def plain(self, target: Target) -> bool:
        """Whether bytes are multiplied one by one."""
        return self.element_bytes == 1 and not target.cuda.architecture.dot

    def partial_bytes(self, splits: int) -> int:
        """Of sums that another kernel adds."""
        return 4 * splits * self.batch * self.outputs if splits > 1 else 0


@dataclass(frozen=True)
class DenseTile:
    """One schedule; see above."""

    outputs: int
    lanes: int
    rows: int = 1
    splits: int = 1

    def __post_init__(self) -> None:
        if THREADS % self.lanes or self.lanes < WORDS:
            raise ValueError(f"{self}: threads are no whole groups")
        if min(self.outputs, self.rows, self.splits) < 1 or self.outputs * self.rows > _MOST_SUMS:
            raise ValueError(f"{self}: a thread has 1 to {_MOST_SUMS} sums")

    @property
    def words(self) -> dict[str, str]:
        """What cuts the work (see `Primitive.tiling`)."""
        found = {
            "block of threads": f"{THREADS}: {self.rows} rows x {self.filled} outputs",
            "threads of a sum": str(self.lanes),
        }
        return found | ({"parts of a sum": str(self.splits)} if self.splits > 1 else {})

    @property
    def groups(self) -> int:
        """Of threads that share sums."""
        return THREADS // self.lanes

    @property
    def filled(self) -> int:
        """Outputs of a block of threads."""
        return self.groups * self.outputs

    @property
    def sums(self) -> int:
        """Of a thread."""
        return self.outputs * self.rows

    @property
    def at_once(self) -> int:
        """Steps whose weights are on their way together."""
        return 1 if self.rows > 2 else min(4, 8 // self.outputs)

    @property
    def group_pitch(self) -> int:
        """Words in shared memory from a sum of one group's threads to that of the next one's."""
        return self.lanes + PARTS

    @property
    def totals(self) -> int:
        """Sums of a block."""
        return self.groups * self.sums

    @property
    def added(self) -> bool:
        """Whether the threads of a sum add it in two turns."""
        return self.lanes > PARTS

    @property
    def shared_bytes(self) -> int:
        parts = self.totals * (PARTS + 1) if self.added else 0
        return 4 * (self.totals * self.group_pitch + parts)

    def registers(self, product: Product, target: Target) -> int:
        """An estimate of what a thread takes; they are given by eights."""
        loads = WORDS * self.at_once * (self.outputs + self.rows)
        loose = product.loose + product.plain(target)
        return up(self.sums + loads + _SPARE_REGISTERS + loose * _LOOSE_REGISTERS, 8)

    def resident(self, product: Product, target: Target) -> int:
        """Blocks that a multiprocessor holds at once; 0 where none fits."""
        architecture = target.cuda.architecture
        return architecture.resident(THREADS, self.registers(product, target), self.shared_bytes)

    def steps(self, product: Product) -> int:
        """Of a sum, in all its parts."""
        return -(-product.chunks // self.lanes)

    def part(self, product: Product) -> int:
        """Steps of each part of a sum but for the last."""
        return -(-self.steps(product) // self.splits)

    def across(self, product: Product) -> int:
        """Blocks that the outputs take."""
        return -(-product.outputs // self.filled)

    def down(self, product: Product) -> int:
        """Blocks that the batch takes."""
        return -(-product.batch // self.rows)

    def tasks(self, product: Product) -> int:
        return self.across(product) * self.down(product) * self.splits

    def weight_bytes(self, product: Product) -> int:
        """Of packed weights."""
        return self.across(product) * self.filled * self.steps(product) * self.lanes * CHUNK

    def seconds(self, product: Product, target: Target) -> float:
        """Waves of blocks, DRAM or the second-level cache, whichever takes longest; and the launches."""
        gpu, tasks, resident = target.gpu, self.tasks(product), self.resident(product, target)
        waves = -(-tasks // (gpu.multiprocessors * resident))
        here = min(resident, -(-tasks // gpu.multiprocessors))
        part = self.part(product)
        waiting = -(-part // self.at_once) * _LATENCY + _ENDING
        busy = waves * max(waiting, here * part * self._step_cycles(product, target)) / (gpu.clock_ghz * 1e9)
        weights, size = self.weight_bytes(product), product.element_bytes
        moved = weights + product.batch * (product.inputs + product.outputs) * size
        lines = tasks * part * self.rows * CHUNK * self.lanes * -(-THREADS // max(WARP, self.lanes))
        near = (weights * self.down(product) + lines) / (gpu.l2_gbps * 1e9)
        far = max(moved / (gpu.dram_gbps * 1e9), near)
        return max(busy, far) + gpu.launch_seconds + self._added(product, target)

    def _step_cycles(self, product: Product, target: Target) -> float:
        """Of a multiprocessor, for a step of one block."""
        products = THREADS * self.sums * WORDS / (word_rate(target, product.element_bytes) * _EFFICIENCY)
        accesses = THREADS * (self.outputs + self.rows)
        return max(products, accesses * CHUNK / _NEAR_BYTES) + accesses / (target.gpu.fma * _PLAIN)

    def _added(self, product: Product, target: Target) -> float:
        """Seconds to write partial sums, and to read them in another kernel."""
        partial = product.partial_bytes(self.splits)
        return 2 * partial / (target.gpu.l2_gbps * 1e9) + target.gpu.launch_seconds if partial else 0.0


_OUTPUTS = (4, 2, 1, 8)
_LANES = (32, 16, 64, 128, 8)
_SPLITS = (1, 2, 4, 8, 16, 32)


def candidates(product_: Product, target: Target) -> Iterator[DenseTile]:
    """Schedules that fit, with no row or part that nobody needs."""
    most = 1 << (product_.batch - 1).bit_length()
    most_sums = _MOST_PLAIN_SUMS if product_.plain(target) else _MOST_SUMS
    rows = [count for count in (1, 2, 4, 8) if count <= most]
    for outputs, lanes, row, splits in product(_OUTPUTS, _LANES, rows, _SPLITS):
        if outputs * row > most_sums:
            continue
        tile = DenseTile(outputs, lanes, row, splits)
        limit = product_.spare_bytes
        if limit is not None and product_.partial_bytes(splits) > limit:
            continue
        if (splits - 1) * tile.part(product_) >= tile.steps(product_):
            continue
        if tile.resident(product_, target):
            yield tile


@lru_cache(maxsize=1 << 12)
def fastest(product_: Product, target: Target) -> DenseTile:
    """By the model; of equal ones that which reads least."""
    return min(
        candidates(product_, target),
        key=lambda tile: (tile.seconds(product_, target), tile.weight_bytes(product_)),
    )
