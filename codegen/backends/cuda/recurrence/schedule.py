"""How a recurrence is cut for a GPU: the frozen schedule of a kernel, and its time by the model.

A block of threads has `groups` units at once, whose sums are each of `lanes` threads, for `rows` sequences.
In a loop over all units and steps it keeps a sequence's states in the memory that its threads share; or it
has these units and one step alone, and steps are kernels one after another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from ....rounding import up
from ....targets.target import Target

CHUNK = 16  # bytes of an access
_MOST_SUMS = 32  # of a thread
_SPARE_REGISTERS = 56
_LATENCY = 600.0  # cycles that memory takes
_ENDING = 500.0  # cycles to add what threads have, for functions, and for barriers
_NEAR_BYTES = 32  # that a multiprocessor has of the second-level cache in a cycle
_EFFICIENCY = 0.5  # of the multiply rate


@dataclass(frozen=True)
class Recurrent:
    """A step multiplies with the weights of the gates of each of its `phases`; `kept` vectors are states."""

    phases: tuple[int, ...]
    kept: int
    steps: int
    batch: int
    directions: int
    hidden: int
    element_bytes: int

    @property
    def elements(self) -> int:
        """Of an access."""
        return CHUNK // self.element_bytes

    @property
    def weight_bytes(self) -> int:
        """Of a direction."""
        return sum(self.phases) * self.hidden * self.hidden * self.element_bytes


@dataclass(frozen=True)
class UnitTile:
    """One schedule; see above. `looped`: over all units and steps."""

    threads: int
    lanes: int
    rows: int
    looped: bool

    def __post_init__(self) -> None:
        if self.threads % self.lanes:
            raise ValueError(f"{self}: threads are no whole groups")

    @property
    def words(self) -> dict[str, str]:
        """What cuts the work (see `Primitive.tiling`)."""
        return {
            "block of threads": f"{self.threads}: {self.rows} sequences x {self.groups} units",
            "threads of a sum": str(self.lanes),
        }

    @property
    def groups(self) -> int:
        """Units at once."""
        return self.threads // self.lanes

    def at_once(self, gates: int) -> int:
        """Accesses of each of the gates that are on their way together."""
        return max(1, min(4, 8 // gates))

    def tiles(self, work: Recurrent) -> int:
        """Of units."""
        return -(-work.hidden // self.groups)

    def chunks(self, work: Recurrent) -> int:
        """Accesses of a thread to the weights of a sum."""
        return -(-work.hidden // (self.lanes * work.elements))

    def stride(self, work: Recurrent) -> int:
        """Elements from one state of a sequence to the next: whole accesses, past whose ends are zeros."""
        return self.chunks(work) * self.lanes * work.elements

    def row_pitch(self, work: Recurrent) -> int:
        """Elements of the states of a sequence; where steps are kernels, of the hidden state after each."""
        return (work.kept + (0 if self.looped else work.steps - 1)) * self.stride(work)

    def row_blocks(self, work: Recurrent) -> int:
        """Blocks that the sequences of a direction take."""
        return -(-work.batch // self.rows)

    def tasks(self, work: Recurrent) -> int:
        return work.directions * self.row_blocks(work) * (1 if self.looped else self.tiles(work))

    def sums(self, work: Recurrent) -> int:
        """Of a thread."""
        return max(work.phases) * self.rows

    def state_words(self, work: Recurrent) -> int:
        """In shared memory."""
        return self.rows * self.row_pitch(work) if self.looped else 0

    def shared_bytes(self, work: Recurrent) -> int:
        return 4 * (self.state_words(work) + self.sums(work) * self.groups * (self.lanes + 2))

    def scratch_bytes(self, work: Recurrent) -> int:
        """Of memory between kernels."""
        return 0 if self.looped else 4 * work.directions * work.batch * self.row_pitch(work)

    def registers(self, work: Recurrent) -> int:
        """An estimate of what a thread takes; they are given by eights."""
        loads = max(4 * gates * self.at_once(gates) for gates in work.phases)
        return up(self.sums(work) + loads + work.elements + _SPARE_REGISTERS, 8)

    def resident(self, work: Recurrent, target: Target) -> int:
        """Blocks that a multiprocessor holds at once; 0 where none fits."""
        architecture = target.cuda.architecture
        return architecture.resident(self.threads, self.registers(work), self.shared_bytes(work))

    def seconds(self, work: Recurrent, target: Target) -> float:
        """Of all steps: waves of blocks, or weights from the second-level cache or DRAM; and the launches."""
        gpu, tasks, resident = target.gpu, self.tasks(work), self.resident(work, target)
        waves = -(-tasks // (gpu.multiprocessors * resident))
        here = min(resident, -(-tasks // gpu.multiprocessors))
        cycles = sum(self._cycles(gates, here, work, target) for gates in work.phases)
        read = work.directions * work.weight_bytes
        far = read / (gpu.dram_gbps * 1e9) if read > gpu.l2_bytes else 0.0
        near = read * self.row_blocks(work) / (gpu.l2_gbps * 1e9)
        launches = 1 if self.looped else work.steps * len(work.phases) + 2
        step = max(waves * cycles / (gpu.clock_ghz * 1e9), far, near)
        moved = 2 * self.scratch_bytes(work) / (gpu.l2_gbps * 1e9)
        return work.steps * step + launches * gpu.launch_seconds + moved

    def _cycles(self, gates: int, here: int, work: Recurrent, target: Target) -> float:
        """Of a phase of so many gates, on a multiprocessor with `here` blocks."""
        tiles, chunks = self.tiles(work) if self.looped else 1, self.chunks(work)
        waiting = tiles * (-(-chunks // self.at_once(gates)) * _LATENCY + _ENDING)
        accesses = here * self.threads * tiles * chunks * gates
        products = accesses * work.elements * self.rows / (target.gpu.fma * _EFFICIENCY)
        return max(waiting, accesses * CHUNK / _NEAR_BYTES, products)


_LANES = (8, 16, 32, 4, 64, 128)


def _candidates(work: Recurrent, looped: bool, target: Target) -> Iterator[UnitTile]:
    """Schedules that fit."""
    rows = [count for count in (1, 2, 4, 8) if count < 2 * work.batch]
    for threads, lanes, row in product((256, 128, 512) if looped else (128,), _LANES, rows):
        tile = UnitTile(threads, lanes, row, looped)
        if tile.sums(work) <= _MOST_SUMS and tile.resident(work, target):
            yield tile


@lru_cache(maxsize=1 << 10)
def fastest(work: Recurrent, looped: bool, target: Target) -> UnitTile | None:
    """By the model; None where no schedule fits."""
    return min(_candidates(work, looped, target), key=lambda tile: tile.seconds(work, target), default=None)
