"""Strips of which a block of threads has one: a thread reduces a part, and parts meet in shared memory."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.types import DType

from ....kernel import Kernel
from ....primitives.operator import Combination, Primitive
from ....targets.target import Target
from ....tir import Registers, T, load, store, when
from ....vector.loops import Expr
from ....vector.shuffles import hold
from ....vector.strips import Combine, Strip, Term
from ..block import barrier, thread
from ..implicit_gemm_kernel import held
from ..per_thread import laid_out, with_layouts
from ..thread import thread_of

_FEW = 32  # positions, which a thread goes through as fast
_LATENCY = 500.0  # cycles that memory takes
_AT_ONCE = 4  # accesses of a thread that are on their way together
_TURN = 60.0  # cycles to write to shared memory, wait and read


@dataclass(frozen=True)
class Cut:
    """`rows` strips of `count` elements for blocks of `threads`; vectors as `Strip` has them."""

    rows: int
    count: int
    threads: int
    lanes: int
    across: int = 0
    step: int = 1

    @property
    def width(self) -> int:
        return self.across or self.lanes

    @property
    def positions(self) -> int:
        """Vectors of a strip."""
        return self.count if self.across else self.count // self.lanes

    @property
    def shared_bytes(self) -> int:
        return 4 * self.threads * (self.across or 1)

    def seconds(self, passes: int, cycles: float, moved: float, target: Target) -> float:
        """Of so many passes, with so many cycles of a thread for an element of each."""
        gpu = target.gpu
        resident = target.cuda.architecture.resident(self.threads, 64, self.shared_bytes)
        waves = -(-self.rows // (gpu.multiprocessors * resident))
        here, turns = min(resident, -(-self.rows // gpu.multiprocessors)), -(-self.positions // self.threads)
        work = turns * self.width * cycles
        waiting = -(-turns // _AT_ONCE) * _LATENCY + work + _TURN * math.log2(self.threads)
        busy = waves * passes * max(waiting, here * self.threads * work / gpu.fma)
        return max(busy / (gpu.clock_ghz * 1e9), moved / (gpu.dram_gbps * 1e9)) + gpu.launch_seconds


def cut(rows: int, count: int, lanes: int = 1, unit: int = 1) -> Cut:
    """Of elements side by side, `lanes` at once where that divides them; or `unit` apart, so many strips'."""
    lanes = lanes if unit == 1 and count % lanes == 0 else 1
    threads = min(256, max(32, 1 << (-(-count // (lanes * 2)) - 1).bit_length()))
    return Cut(rows, count, threads, lanes, unit if unit > 1 else 0, unit)


@dataclass(frozen=True, eq=False)
class SharedStrip(Strip):
    """Of this block: `each` is of a thread's vectors, a reduction of those of all threads."""

    threads: int = 32
    memory: Any = None

    @staticmethod
    def of(cut: Cut, memory: Any) -> SharedStrip:
        return SharedStrip(cut.count, cut.lanes, cut.across, cut.step, cut.threads, memory)

    def each(self, body: Callable[[Expr, int], None]) -> None:
        """`body(offset, width)` over this thread's."""
        width = self.across or self.lanes
        count, apart = self.count // (1 if self.across else width), self.step if self.across else width
        with T.serial(0, -(-count // self.threads)) as turn:
            place = held(turn * self.threads + thread())
            with when(True if count % self.threads == 0 else place < count):
                body(held(place * apart), width)

    def reduce(self, start: float, term: Term, combine: Combine, dtype: str) -> Any:
        """Every thread comes here, and has the result."""
        wide = Registers(1, self.across or self.lanes, dtype)
        wide.fill(start)
        self.each(lambda offset, width: wide.__setitem__(0, combine(wide[0], term(offset, width))))
        total = Registers(1, self.width, dtype)
        total.fill(start)
        if self.across:
            total[0] = wide[0]
        else:
            self._fold(total, wide[0], self.lanes, combine, dtype)
        self._meet(total, combine, dtype)
        return total

    def _meet(self, total: Any, combine: Combine, dtype: str) -> None:
        own, half, width = held(thread()), self.threads // 2, self.width
        store(self.memory, own * width, total[0], width)
        barrier()
        while half:
            with when(own < half):
                other = load(self.memory, (own + half) * width, width)
                total[0] = combine(total[0], hold(other, width, dtype))
                store(self.memory, own * width, total[0], width)
            barrier()
            half //= 2
        total[0] = load(self.memory, 0, width)
        barrier()


class Shared(Primitive):
    """A strip is a block's; comes before the primitive a task of which it is among the bases."""

    dtypes: tuple[DType, ...] = (DType.F32, DType.F16)
    passes = 1
    cycles = 4.0

    @abstractmethod
    def cut(self, op: Operator) -> Cut | None:
        """Of an operator whose types carry the chosen layouts; None where threads have enough to do."""

    @abstractmethod
    def build(self, op: Operator, cut: Cut) -> tuple[Any, Callable[[], Any]]:
        """(what determines the code, what builds it)."""

    def applicable(self, op: Operator, target: Target) -> str | None:
        if op.operands[0].type.dtype not in self.dtypes:
            return "an element type that is a thread's"
        if reason := super().applicable(op, thread_of(target)):  # type: ignore[safe-super]
            return reason
        return None if self.layouts(op, target) else "strips are short, or lie side by side"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        offered = super().layouts(op, thread_of(target))  # type: ignore[safe-super]
        return tuple(combination for combination in offered if self._long(op, combination))

    def _long(self, op: Operator, combination: Combination) -> bool:
        found = self.cut(with_layouts(self, op, combination))
        return found is not None and found.rows > 0 and found.positions > _FEW

    def estimate(self, op: Operator, target: Target) -> float:
        return min(self._seconds(laid, target) for laid in laid_out(self, op, target))

    def _seconds(self, op: Operator, target: Target) -> float:
        moved = sum(v.type.bytes for v in (*op.operands, *op.results))
        return self._cut(op).seconds(self.passes, self.cycles, moved, target)

    def _cut(self, op: Operator) -> Cut:
        found = self.cut(op)
        assert found is not None, "applicable() was not asked"
        return found

    def kernel(self, op: Operator, target: Target) -> Kernel:
        cut = self._cut(op)
        spec, build = self.build(op, cut)
        name = op.name.split(".", 1)[1]
        return Kernel(name, ("block", spec, cut), build, cut.rows, cut.shared_bytes, threads=cut.threads)
