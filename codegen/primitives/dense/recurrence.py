"""Recurrences: LSTM, GRU and the plain cell, one task for each sequence and direction.

A step multiplies the hidden state with all recurrent weights. Tiles of `vectors` vectors
of units hold the sums of several gates at once, so that a gate's activation follows its
sum in registers. Constant weights are packed in the order in which tiles read them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.ops.recurrent import DIRECTIONS, GATES

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import prim_func
from ...vector.numeric import lanes_for
from ..elementwise.elementwise import argument_order
from ..generic import CALL_SECONDS, Generic, is_constant, storage, type_after
from ..operator import Array, Cost, Primitive, constant_of, dynamic_operands
from ..specs import seconds
from .recurrence_cells import CELLS, RecurrenceSpec

EFFICIENCY = 0.3  # of the multiply-adds: weights come from the second-level cache


def pack(weights: Array, gates: int, tile: int) -> Array:
    """D x H x G H as [direction][tile][unit read][gate][unit of the tile], padded with zeros."""
    directions, hidden, _ = weights.shape
    tiles = -(-hidden // tile)
    apart = weights.reshape(directions, hidden, gates, hidden)
    padded = np.pad(apart, [(0, 0), (0, 0), (0, 0), (0, tiles * tile - hidden)])
    split = padded.reshape(directions, hidden, gates, tiles, tile)
    return np.ascontiguousarray(split.transpose(0, 3, 1, 2, 4))


class Recurrence(Generic):
    """Row-major."""

    name = "recurrence"
    operators = tuple(GATES)

    def spec(self, op: Operator) -> RecurrenceSpec:
        cell, order = op.name.split(".", 1)[1], argument_order(op)
        steps, batch, _ = op.operands[0].type.shape
        return RecurrenceSpec(
            cell, steps, batch, op.operands[1].type.shape[1], DIRECTIONS[op["direction"]], op["activations"],
            op["clip"], storage(type_after(op).dtype), is_constant(op, 1), self._has_extra(op, cell),
            cell == "gru" and op["reset_after"], cell == "lstm" and op["last_cell"],
            tuple(order.index(i) for i in range(len(order))),
        )  # fmt: skip

    def _has_extra(self, op: Operator, cell: str) -> bool:
        return len(op.operands) > (4 if cell == "lstm" else 3)

    def _lanes(self, op: Operator, target: Target) -> int:
        return lanes_for((storage(type_after(op).dtype),), target.lanes)

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        spec, dynamic = self.spec(op), dynamic_operands(op)
        found = [(i, constant_of(v)) for i, v in enumerate(op.operands) if i not in dynamic]
        tile = spec.tile(self._lanes(op, target))
        return tuple(
            pack(a, spec.gates, tile) if i == 1 else np.ascontiguousarray(a)
            for i, a in found
            if a is not None
        )

    def workspace(self, op: Operator, target: Target) -> int:
        return self.spec(op).workspace

    def estimate(self, op: Operator, target: Target) -> float:
        macs = float(op.macs)
        moved = float(sum(v.type.bytes for v in (*op.operands, *op.results)))
        return seconds(target, macs, EFFICIENCY, moved) + CALL_SECONDS

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        return (Cost(self.estimate(op, target), self.workspace(op, target)),)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec, lanes = self.spec(op), self._lanes(op, target)
        tasks = max(1, spec.batch * len(spec.backwards))
        return Kernel(
            op.name.split(".", 1)[1], spec, partial(_build, spec, lanes), tasks, workspace=spec.workspace
        )


def _build(spec: RecurrenceSpec, lanes: int) -> Any:
    names = [(f"x{i}", spec.dtype) for i in range(len(spec.places))]
    return prim_func([*names, ("result", spec.dtype)], CELLS[spec.cell](spec, lanes))


PRIMITIVES: tuple[Primitive, ...] = (Recurrence(),)
