"""Functions of one byte, looked up in 256 values, negative bytes counting from the end.

Tables of bytes are looked up a vector at a time where the instruction set has
lookups in registers: a part of the table at a time, bytes outside it giving
zero, and the parts' answers joined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR

from ...kernel import Kernel
from ...targets.isa import ByteLookup
from ...targets.target import Target
from ...tir import T, load, prim_func, splat, store, when
from ...vector.loops import Expr, each_vector, nest_tasks, split_rows, task_rows
from ...vector.requantize import BLOCK
from ...vector.shuffles import hold
from ..generic import BYTES, Generic, block_refusal, is_constant, storage, target_block, type_after
from ..move.gather import GatherSpec, build
from ..operator import Combination

_RUN = 4096  # bytes of a row of work


class Table(Generic):
    """`q.table` with a constant table of any type, element by element."""

    name = "table"
    operators = ("table",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        return None if is_constant(op, 1) and not is_constant(op, 0) else "needs a constant table"

    def vector_cost(self, op: Operator) -> float:
        return 32.0

    def kernel(self, op: Operator, target: Target) -> Kernel:
        x, table = (v.type for v in op.operands)
        types = storage(table.dtype), storage(x.dtype)
        spec = GatherSpec(1, type_after(op).elements, 1, table.elements, *types, index_first=True)
        return Kernel(
            "table", spec, partial(build, spec, target.lanes), nest_tasks((1, spec.picked), 8.0).count
        )


class TableOfBytes(Table):
    """A table of bytes; blocked as bytes are."""

    def applicable(self, op: Operator, target: Target) -> str | None:
        if op.operands[1].type.dtype not in BYTES:
            return "the table is not of bytes"
        return super().applicable(op, target)

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain: Combination = ((ROW_MAJOR, ROW_MAJOR), ROW_MAJOR)
        if block_refusal(op, BYTES):
            return (plain,)
        layout = target_block(target, type_after(op).dtype)
        return ((layout, ROW_MAJOR), layout), plain


@dataclass(frozen=True)
class BytesTableSpec:
    """`planes` of `size` bytes; with `channels`, those of blocks of 16 whose padding lanes are zeroed.

    `lookup` is the instruction, on `lanes` bytes.
    """

    planes: int
    size: int
    lookup: ByteLookup
    lanes: int
    blocks: int = 1
    channels: int = 0

    @property
    def runs(self) -> int:
        """Rows of work of a plane."""
        return max(1, -(-self.size // _RUN))


class BytesTable(TableOfBytes):
    """In registers."""

    name = "table_bytes"

    def applicable(self, op: Operator, target: Target) -> str | None:
        if target.isa.lookup is None:
            return f"no lookups in registers of {target.isa.name}"
        return super().applicable(op, target)

    def vector_cost(self, op: Operator) -> float:
        return 6.0

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = _bytes_spec(op, target)
        return Kernel("table", spec, partial(_build, spec), _tasks(spec).count)


def _bytes_spec(op: Operator, target: Target) -> BytesTableSpec:
    type, lookup, lanes = type_after(op), target.isa.lookup, target.isa.vector_bytes
    assert lookup is not None, "the primitive does not apply without"
    block, size = type.layout.block, math.prod(type.layout.physical_shape(type.shape))
    if not block or type.shape[1] % block == 0:
        return BytesTableSpec(1, size, lookup, lanes)
    blocks = -(-type.shape[1] // block)
    planes = type.shape[0] * blocks
    return BytesTableSpec(planes, size // planes, lookup, lanes, blocks, type.shape[1])


def _tasks(spec: BytesTableSpec) -> Any:
    return split_rows(spec.planes * spec.runs, 4.0 * min(spec.size, _RUN))


def _build(spec: BytesTableSpec) -> Any:
    return prim_func([("x", "uint8"), ("table", "uint8"), ("result", "uint8")], _Body(spec))


class _Body:
    """Emits the loops; a plane is cut into runs, the last of which may be shorter."""

    def __init__(self, spec: BytesTableSpec) -> None:
        self.spec = spec

    def __call__(self, x: Any, table: Any, result: Any, _: Any, begin: Expr, end: Expr) -> None:
        self.x, self.table, self.result, spec = x, table, result, self.spec
        if not spec.planes * spec.size:
            T.evaluate(0)
            return
        with task_rows(_tasks(spec), begin, end) as row:
            plane, run = row // spec.runs, row % spec.runs
            start, rest = plane * spec.size + run * _RUN, spec.size % _RUN
            channel = plane % spec.blocks * BLOCK
            if spec.size >= _RUN:
                with when(run < spec.size // _RUN):
                    self._run(start, _RUN, channel)
            if rest:
                with when(run == spec.runs - 1):
                    self._run(start, rest, channel)

    def _run(self, start: Expr, count: int, channel: Expr) -> None:
        each_vector(count, self.spec.lanes, lambda i, width: self._vector(start + i, width, channel))

    def _vector(self, at: Expr, width: int, channel: Expr) -> None:
        """A vector, or what is left of the last one."""
        lanes = self.spec.lanes
        value = hold(load(self.x, at, width), width, "uint8")
        if width < lanes:
            fill = hold(splat(0, lanes, "uint8"), lanes, "uint8")
            value = hold(T.Shuffle([value, fill], list(range(lanes))), lanes, "uint8")
        found = hold(self._masked(self._looked_up(value), channel), lanes, "uint8")
        stored = found if width == lanes else T.Shuffle([found], list(range(width)))
        store(self.result, at, stored, width)

    def _looked_up(self, value: Expr) -> Expr:
        """Each part answers for the bytes that, less its beginning, are inside it."""
        lanes, part = self.spec.lanes, self.spec.lookup.part
        found = self._part(0, value)
        for start in range(part, 256, part):
            value = hold(value - splat(part, lanes, "uint8"), lanes, "uint8")
            found = hold(found | self._part(start, value), lanes, "uint8")
        return found

    def _part(self, start: int, index: Expr) -> Expr:
        """The table's bytes from `start` on at `index`; zero where that is beyond the part."""
        lanes, lookup = self.spec.lanes, self.spec.lookup
        if lookup.part == 64:
            rows = [load(self.table, start + k * 16, 16) for k in range(4)]
            return hold(_call(lookup.intrinsic, lanes, *rows, index), lanes, "uint8")
        sixteen = hold(load(self.table, start, 16), 16, "uint8")
        spread = T.Shuffle([sixteen] * (lanes // 16), list(range(lanes)))
        # From 16 on, the sum has its highest bit set, which the lookup answers with zero.
        beyond = _call(f"llvm.uadd.sat.v{lanes}i8", lanes, index, splat(0x70, lanes, "uint8"))
        return hold(_call(lookup.intrinsic, lanes, spread, beyond), lanes, "uint8")

    def _masked(self, value: Expr, channel: Expr) -> Expr:
        if not self.spec.channels:
            return value
        inside = T.Ramp(channel, 1, BLOCK) < splat(self.spec.channels, BLOCK, "int32")
        kept = T.Select(inside, splat(255, BLOCK, "uint8"), splat(0, BLOCK, "uint8"))
        copies = [hold(kept, BLOCK, "uint8")] * (self.spec.lanes // BLOCK)
        return value & T.Shuffle(copies, list(range(self.spec.lanes)))


def _call(intrinsic: str, lanes: int, *arguments: Expr) -> Expr:
    return T.call_llvm_pure_intrin(f"uint8x{lanes}", intrinsic, *arguments)


PRIMITIVES = (BytesTable(), Table())
