"""8-bit dense layers: `q.linear_matmul` with constant weights, row-major, by panels of output columns.

A batch of one is bound by reading the weights once: a task streams one panel,
which is packed in the order in which it is read, and sums several chains of
inputs apart, which hides latency.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import ROW_MAJOR

from ..kernel import Kernel
from ..targets import Target
from .arithmetic import Int8
from .base import seconds, up
from .conv_plan import KernelSpec
from .dot import QUAD, dot_of
from .generic import CALL_SECONDS, same_layouts
from .operator import Argument, Combination, Constant, Operand, Primitive, constant_of
from .requantize import (
    BLOCK,
    Requantization,
    Requantize,
    on_target,
    padded_multipliers,
    requantization,
    result_parameters,
)

Expr = Any
Buffer = Any
Array = NDArray[Any]

_CHAINS = 4  # of partial sums, with a batch of one
_NO_RESIDUAL = 3


@dataclass(frozen=True)
class LinearDenseSpec:
    """(batch, inputs) by (inputs, outputs), row-major."""

    batch: int
    inputs: int
    outputs: int
    ending: Requantization


@dataclass(frozen=True)
class Panels:
    """Register tile of `rows` batch rows by `vectors` vectors of outputs."""

    rows: int
    vectors: int


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
        spec, dot = linear_dense_spec(op), dot_of(target)
        steps = up(spec.inputs, QUAD) // QUAD * up(spec.outputs, target.lanes)
        efficiency = 0.75 if spec.batch > 1 else 0.5
        work = spec.batch * steps * dot.operations
        return seconds(target, work, efficiency, float(spec.inputs * spec.outputs)) + CALL_SECONDS

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        weights, bias = map(constant_of, op.operands[1:])
        if weights is None or bias is None:
            raise ValueError(f"{op!r}: weights and bias are not constant")
        zero = one_quant(op.operands[0].type)[1]
        start = np.zeros(up(len(bias), BLOCK), np.int64)
        start[: len(bias)] = bias - zero * weights.astype(np.int64).sum(0)
        packed = pack_panels(weights, panels_of(linear_dense_spec(op), target).vectors, _arithmetic(target))
        parameters = (padded_multipliers(op), result_parameters(op, _NO_RESIDUAL))
        return (Operand(0), *map(Constant, (packed, start.astype(np.int32), *parameters)))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec, lanes = linear_dense_spec(op), target.lanes
        spec = replace(spec, ending=on_target(spec.ending, op, _NO_RESIDUAL, target))
        panels, arithmetic = panels_of(spec, target), _arithmetic(target)
        tasks = -(-spec.outputs // (panels.vectors * lanes)) * -(-spec.batch // panels.rows)
        key = KernelSpec("linear_dense", spec, panels, lanes)
        build = lambda: _build(spec, panels, arithmetic)  # noqa: E731
        return Kernel("linear_dense", key, build, tasks, workspace_bytes(target))


def linear_dense_spec(op: Operator) -> LinearDenseSpec:
    batch, inputs = op.operands[0].type.shape
    return LinearDenseSpec(batch, inputs, op.result.type.shape[1], requantization(op, _NO_RESIDUAL, block=0))


def workspace_bytes(target: Target) -> int:
    """A vector of results, or the last quad of every row of a tile."""
    return max(4 * target.lanes, QUAD * target.isa.vector_registers)


def panels_of(spec: LinearDenseSpec, target: Target) -> Panels:
    """The register tile; few outputs take fewer vectors."""
    vectors = min(4, -(-spec.outputs // target.lanes))
    rows = _arithmetic(target).tile_pixels(target.isa.vector_registers, vectors)
    return Panels(min(spec.batch, rows), vectors)


def pack_panels(weights: Array, vectors: int, arithmetic: Int8) -> Array:
    """(inputs, outputs) to [panel][quad][vector and lane][channel of a quad]; the last panel is narrower."""
    lanes, width = arithmetic.lanes, vectors * arithmetic.lanes
    outputs = weights.shape[1]
    full = outputs // width * width
    parts = [(weights[:, :full], vectors), (weights[:, full:], -(-(outputs - full) // lanes))]
    packed = [_panel(part, count, arithmetic) for part, count in parts if part.size]
    return np.concatenate(packed)


def _panel(weights: Array, vectors: int, arithmetic: Int8) -> Array:
    filters = up(weights.shape[1], vectors * arithmetic.lanes)
    return arithmetic.pack(weights.T[:, :, None, None], vectors, QUAD, filters).reshape(-1)


def _arithmetic(target: Target) -> Int8:
    return Int8(target.lanes, dot_of(target))


def _build(spec: LinearDenseSpec, panels: Panels, arithmetic: Int8) -> Any:
    from ..tvm_adapter import T, prim_func

    rows = divmod(spec.batch, panels.rows)
    row_tasks = rows[0] + (rows[1] > 0)

    def body(*args: Any) -> None:
        *buffers, workspace, begin, end = args
        nest = _Nest(spec, arithmetic, tuple(buffers), workspace)
        with T.serial(begin, end) as task:
            panel, row = task // row_tasks, task % row_tasks * panels.rows
            for count, first, last in ((panels.rows, 0, rows[0]), (rows[1], rows[0], row_tasks)):
                if first == last:
                    continue
                with T.If((row >= first * panels.rows) & (row < last * panels.rows)), T.Then():
                    nest.columns(panel, row, count, panels.vectors)

    typed = [("data", "uint8"), ("weights", "int8"), ("starts", "int32")]
    return prim_func([*typed, "multipliers", "parameters", ("output", spec.ending.result)], body)


class _Nest:
    """Emits register tiles."""

    def __init__(
        self, spec: LinearDenseSpec, arithmetic: Int8, buffers: tuple[Buffer, ...], workspace: Buffer
    ) -> None:
        self.spec, self.arithmetic, self.lanes = spec, arithmetic, arithmetic.lanes
        self.data, self.weights, self.starts, multipliers, parameters, self.output = buffers
        self.workspace = workspace
        self.requantize = Requantize(spec.ending, self.lanes, parameters, multipliers)

    def columns(self, panel: Expr, row: Expr, rows: int, vectors: int) -> None:
        """One panel; the last may be narrower."""
        from ..tvm_adapter import T

        width = vectors * self.lanes
        whole, rest = divmod(self.spec.outputs, width)
        if not rest:
            self._tile(panel * width, row, rows, vectors, 0)
            return
        if not whole:
            self._tile(0, row, rows, -(-rest // self.lanes), rest % self.lanes)
            return
        with T.If(panel < whole):
            with T.Then():
                self._tile(panel * width, row, rows, vectors, 0)
            with T.Else():
                self._tile(whole * width, row, rows, -(-rest // self.lanes), rest % self.lanes)

    def _tile(self, column: Expr, row: Expr, rows: int, vectors: int, partial: int) -> None:
        """`rows` by `vectors` results; the last vector holds only `partial` outputs where that is not 0."""
        from ..tvm_adapter import load, splat

        sums = [self.arithmetic.registers(rows * vectors) for _ in range(_CHAINS if rows == 1 else 1)]
        for at in range(rows * vectors):
            sums[0][at] = load(self.starts, column + at % vectors * self.lanes, self.lanes)
            for chain in sums[1:]:
                chain[at] = splat(0, self.lanes, "int32")
        self._products(sums, column, row, rows, vectors)
        for at in range(rows * vectors * (len(sums) > 1)):
            sums[0][at] = (sums[0][at] + sums[1][at]) + (sums[2][at] + sums[3][at])
        for at in range(rows * vectors):
            last = at % vectors == vectors - 1
            place = (row + at // vectors, column + at % vectors * self.lanes)
            self._store(sums[0][at], *place, partial if last else 0)

    def _products(self, sums: list[Any], column: Expr, row: Expr, rows: int, vectors: int) -> None:
        from ..tvm_adapter import T

        quads, width = self.spec.inputs // QUAD, vectors * self.arithmetic.width
        panel = column * up(self.spec.inputs, QUAD)

        def step(quad: Expr, chain: int) -> None:
            starts = [(row + r) * self.spec.inputs + quad * QUAD for r in range(rows)]
            self._step(sums[chain % len(sums)], self.data, starts, panel + quad * width, vectors)

        with T.serial(0, quads // _CHAINS) as outer:
            for inner in range(_CHAINS):
                step(outer * _CHAINS + inner, inner)
        for quad in range(quads // _CHAINS * _CHAINS, quads):
            step(quad, quad)
        if self.spec.inputs % QUAD:
            self._rest(sums[0], row, rows, panel + quads * width, vectors)

    def _rest(self, acc: Any, row: Expr, rows: int, weight: Expr, vectors: int) -> None:
        """The last inputs, fewer than a quad: beside zeros, as nothing behind a row may be read."""
        from ..tvm_adapter import store, view

        scratch, count = view(self.workspace, "uint8"), self.spec.inputs % QUAD
        for r in range(rows):
            first = (row + r + 1) * self.spec.inputs - count
            for i in range(QUAD):
                value = self.data[first + i] if i < count else 0
                store(scratch, r * QUAD + i, value, 1)
        self._step(acc, scratch, [r * QUAD for r in range(rows)], weight, vectors)

    def _step(self, acc: Any, data: Buffer, starts: list[Expr], weight: Expr, vectors: int) -> None:
        """acc[r][v] += the quad of data at starts[r] times the weights of vector v."""
        arithmetic = self.arithmetic
        weights = [arithmetic.weights(self.weights, weight + v * arithmetic.width) for v in range(vectors)]
        for r, start in enumerate(starts):
            element = arithmetic.element(data, start)
            for v in range(vectors):
                arithmetic.accumulate(acc, r * vectors + v, element, weights[v])

    def _store(self, total: Expr, row: Expr, column: Expr, partial: int) -> None:
        from ..tvm_adapter import T, store, view

        index = row * self.spec.outputs + column
        result = self.requantize.of_sum(total, index, column)
        if not partial:
            store(self.output, index, result, self.lanes)
            return
        scratch = view(self.workspace, self.spec.ending.result)
        store(scratch, 0, result, self.lanes)
        with T.serial(0, partial) as i:
            store(self.output, index + i, scratch[i], 1)


PRIMITIVES = (LinearDense(),)
