"""Recurrences by blocks of threads: in one kernel, or a kernel for each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.types import DType

from ....kernel import Kernel
from ....primitives.dense.recurrence import Recurrence
from ....primitives.dense.recurrence_cells import STATES
from ....primitives.generic import is_constant, type_after
from ....primitives.operator import Argument, Constant, Operand, Result, Scratch, Stage, constant_of
from ....targets.target import Target
from ..staged import Staged
from .kernel import RecurrenceKey, looped_kernel, step_kernels
from .schedule import Recurrent, UnitTile, fastest

Array = NDArray[Any]
_MOST_STEPS = 1024  # that are kernels of their own


def packed(weights: Array, gates: int, tile: UnitTile, work: Recurrent) -> Array:
    """D x H x G H to [direction][tile of units][access][gate][group of threads][lane][element]."""
    tiles, units, read = tile.tiles(work), tile.groups, tile.stride(work)
    apart = weights.reshape(work.directions, work.hidden, gates, work.hidden)
    spare = [(0, 0), (0, read - work.hidden), (0, 0), (0, tiles * units - work.hidden)]
    cut = np.pad(apart, spare).reshape(
        work.directions, tile.chunks(work), tile.lanes, work.elements, gates, tiles, units
    )
    return np.ascontiguousarray(cut.transpose(0, 5, 1, 4, 6, 2, 3))


class _ByBlocks(Recurrence):
    """float32, or binary16 with states and sums in float32, and constant weights."""

    looped: bool

    def applicable(self, op: Operator, target: Target) -> str | None:
        if type_after(op).dtype not in (DType.F32, DType.F16):
            return "64-bit floats"
        if not is_constant(op, 1):
            return "computed weights"
        work = self.work(op)
        if min(work.steps, work.batch) < 1:
            return "an empty operand"
        if not self.looped and work.steps * len(work.phases) > _MOST_STEPS:
            return f"more than {_MOST_STEPS} kernels"
        return None if fastest(work, self.looped, target) else "states do not fit the GPU"

    def work(self, op: Operator) -> Recurrent:
        spec = self.spec(op)
        twice = spec.cell == "gru" and not spec.reset_after
        kept = STATES[spec.cell] - (spec.cell == "gru" and not twice) * 2
        phases, size = (2, 1) if twice else (spec.gates,), op.result.type.dtype.bytes
        return Recurrent(phases, kept, spec.steps, spec.batch, len(spec.backwards), spec.hidden, size)

    def tile(self, op: Operator, target: Target) -> UnitTile:
        tile = fastest(self.work(op), self.looped, target)
        assert tile is not None, "applicable() was not asked"
        return tile

    def key(self, op: Operator, target: Target) -> RecurrenceKey:
        return RecurrenceKey(self.spec(op), self.work(op), self.tile(op, target))

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        key, found = self.key(op, target), (constant_of(v) for v in op.operands)
        return tuple(
            packed(a, key.spec.gates, key.tile, key.work) if i == 1 else np.ascontiguousarray(a)
            for i, a in enumerate(found)
            if a is not None
        )

    def workspace(self, op: Operator, target: Target) -> int:
        return self.tile(op, target).scratch_bytes(self.work(op))

    def estimate(self, op: Operator, target: Target) -> float:
        return self.tile(op, target).seconds(self.work(op), target)

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        return self.tile(op, target).words


class LoopedRecurrence(_ByBlocks):
    """A block of threads goes through the steps of some sequences."""

    name = "recurrence_block"
    looped = True

    def kernel(self, op: Operator, target: Target) -> Kernel:
        return looped_kernel(self.name, self.key(op, target))


class SteppedRecurrence(Staged, _ByBlocks):
    """Each step is a kernel, whose blocks share the units."""

    name = "recurrence_steps"
    looped = False

    def kernels(self, op: Operator, target: Target) -> tuple[Kernel, ...]:
        return step_kernels(self.name, self.key(op, target))

    def stages(self, op: Operator, target: Target) -> tuple[Stage, ...]:
        begin, *phases, end = self.kernels(op, target)
        given: tuple[Argument, ...] = Recurrence.arguments(self, op, target)
        steps = (
            Stage(phase, (*given, Constant(np.array([turn], np.int32)), Scratch(0)), not turn + number)
            for turn in range(self.work(op).steps)
            for number, phase in enumerate(phases)
        )
        first = Stage(begin, (*given, Scratch(0)), macs=False)
        return first, *steps, Stage(end, (Scratch(0), Result()), macs=False)

    def arguments(self, op: Operator, target: Target) -> tuple[Operand | Constant, ...]:
        return tuple(dict.fromkeys(super().arguments(op, target)))


PRIMITIVES = (LoopedRecurrence(), SteppedRecurrence())
