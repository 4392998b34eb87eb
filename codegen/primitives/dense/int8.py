"""8-bit dense layers: `q.linear_matmul` with constant weights, row-major, by panels of output columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import ROW_MAJOR

from ...kernel import Kernel
from ...rounding import up
from ...targets.target import Target
from ...tir import T, load, prim_func, store, view
from ...vector.across import CHANNELS, Across, across
from ...vector.dot import QUAD, Dot, dot_of, is_full
from ...vector.requantize import (
    BLOCK,
    Requantization,
    Requantize,
    on_target,
    padded_multipliers,
    requantization,
    result_parameters,
)
from ..conv.arithmetic import Int8
from ..conv.plan import KernelSpec
from ..conv.sums_of_channels import SumsOfChannels
from ..generic import CALL_SECONDS, same_layouts
from ..operator import Argument, Combination, Constant, Operand, Primitive, constant_of
from ..specs import seconds
from .panels import DensePlan, PanelNest, Panels

Expr = Any
Buffer = Any
Array = NDArray[Any]

NO_RESIDUAL = 3
_LONG = 64  # inputs from which on sums of inputs pay


@dataclass(frozen=True)
class LinearDenseSpec:
    """(batch, inputs) by (inputs, outputs), row-major."""

    batch: int
    inputs: int
    outputs: int
    ending: Requantization
    full: bool = False  # weights may be -128

    def dot(self, target: Target) -> Dot:
        return dot_of(target, full=self.full)

    def summed(self, target: Target) -> Across | None:
        """The step of sums of inputs, which need none of them copied; for one row of whole blocks."""
        whole = self.batch == 1 and self.inputs % CHANNELS == 0 and self.inputs >= _LONG
        return across(target, 1) if whole and not self.full else None


class LinearDense(Primitive):
    """`q.linear_matmul` by a constant matrix."""

    name = "dense"
    operators = ("linear_matmul",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        if constant_of(op.operands[1]) is None or constant_of(op.operands[2]) is None:
            return "needs constant weights and bias"
        return None if all(v.type.elements for v in (*op.operands, *op.results)) else "an empty operand"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return (same_layouts(op, ROW_MAJOR),)

    def workspace(self, op: Operator, target: Target) -> int:
        return workspace_bytes(target)

    def estimate(self, op: Operator, target: Target) -> float:
        spec = linear_dense_spec(op)
        dot = spec.dot(target)
        steps = up(spec.inputs, QUAD) // QUAD * up(spec.outputs, target.lanes)
        efficiency = 0.75 if spec.batch > 1 else 0.5
        work = spec.batch * steps * dot.operations
        return seconds(target, work, efficiency, float(spec.inputs * spec.outputs)) + CALL_SECONDS

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        return plan_of(linear_dense_spec(op), target).words

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        weights, bias = map(constant_of, op.operands[1:])
        if weights is None or bias is None:
            raise ValueError(f"{op!r}: weights and bias are not constant")
        spec = linear_dense_spec(op)
        zero = one_quant(op.operands[0].type)[1] - spec.dot(target).offset
        start = np.zeros(up(len(bias), BLOCK), np.int64)
        start[: len(bias)] = bias - zero * weights.astype(np.int64).sum(0)
        packed = plan_of(spec, target).pack(weights)
        parameters = (padded_multipliers(op), result_parameters(op, NO_RESIDUAL))
        return (Operand(0), *map(Constant, (packed, start.astype(np.int32), *parameters)))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = linear_dense_spec(op)
        full = spec.full and target.isa.dot.full is not None
        spec = replace(spec, full=full, ending=on_target(spec.ending, op, NO_RESIDUAL, target))
        plan = plan_of(spec, target)
        key = KernelSpec("linear_dense", spec, plan.panels, target.lanes)
        return Kernel("linear_dense", key, partial(_build, spec, plan), plan.tasks, workspace_bytes(target))


def linear_dense_spec(op: Operator) -> LinearDenseSpec:
    batch, inputs = op.operands[0].type.shape
    weights, ending = constant_of(op.operands[1]), requantization(op, NO_RESIDUAL, block=0)
    return LinearDenseSpec(
        batch, inputs, op.result.type.shape[1], ending, weights is None or is_full(weights)
    )


def workspace_bytes(target: Target) -> int:
    """A vector of results, or the last quad of every row of a tile."""
    return max(4 * target.lanes, QUAD * target.isa.vector_registers)


def plan_of(spec: LinearDenseSpec, target: Target) -> DensePlan:
    """The register tile; few outputs take fewer vectors."""
    vectors, summed = min(4, -(-spec.outputs // target.lanes)), spec.summed(target)
    arithmetic = SumsOfChannels(target.lanes, summed) if summed else Int8(target.lanes, spec.dot(target))
    rows = min(spec.batch, arithmetic.tile_pixels(target.isa.vector_registers, vectors))
    return DensePlan(spec.batch, spec.inputs, spec.outputs, Panels(rows, vectors), arithmetic)


def _build(spec: LinearDenseSpec, plan: DensePlan) -> Any:
    def body(*args: Any) -> None:
        *buffers, workspace, begin, end = args
        _Nest(spec, plan, tuple(buffers), workspace).emit(begin, end)

    typed = [("data", "uint8"), ("weights", "int8"), ("starts", "int32")]
    return prim_func([*typed, "multipliers", "parameters", ("output", spec.ending.result)], body)


class _Nest(PanelNest):
    """Sums start at a table's and are requantized."""

    def __init__(
        self, spec: LinearDenseSpec, plan: DensePlan, buffers: tuple[Buffer, ...], workspace: Buffer
    ) -> None:
        data, weights, self.starts, multipliers, parameters, self.output = buffers
        super().__init__(plan, data, weights, workspace)
        self.ending = spec.ending
        self.requantize = Requantize(spec.ending, self.lanes, parameters, multipliers)

    def start(self, column: Expr) -> Expr:
        return load(self.starts, column, self.lanes)

    def _tile(self, column: Expr, row: Expr, rows: int, vectors: int, partial: int) -> None:
        """Of sums of inputs those of all outputs are at work at a time, so there are no other chains."""
        arithmetic = self.arithmetic
        if not isinstance(arithmetic, SumsOfChannels):
            super()._tile(column, row, rows, vectors, partial)
            return
        total = arithmetic.registers(vectors)
        sums, inputs = arithmetic.opened(total, vectors), self.plan.inputs
        places = (self.data, row * inputs), (self.weights, column * inputs)
        operands, steps = arithmetic.operands(*places, vectors), inputs // arithmetic.step
        together = next(n for n in (4, 2, 1) if steps % n == 0)
        with T.serial(0, steps // together):
            for _ in range(together):
                operands.row(sums, None, [(range(1), range(1))])
        for v in range(vectors):
            total[v] = self.start(column + v * self.lanes)
        arithmetic.closed(sums, vectors)
        for v in range(vectors):
            self.store(total[v], row, column + v * self.lanes, partial if v == vectors - 1 else 0)

    def store(self, total: Expr, row: Expr, column: Expr, partial: int) -> None:
        index = row * self.plan.outputs + column
        result = self.requantize.of_sum(total, index, column)
        if not partial:
            store(self.output, index, result, self.lanes)
            return
        scratch = view(self.workspace, self.ending.result)
        store(scratch, 0, result, self.lanes)
        with T.serial(0, partial) as i:
            store(self.output, index + i, scratch[i], 1)


PRIMITIVES = (LinearDense(),)
