"""Dense layers of floats with constant weights: y = x W, row-major, by panels of output columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...kernel import Kernel
from ...rounding import up
from ...targets.target import Target
from ...tir import T, load, prim_func, store, view
from ..conv.arithmetic import plain_arithmetic
from ..conv.ending import Finish, pointers, split_buffers
from ..conv.plan import KernelSpec
from ..conv.rows_by_element import by_rows
from ..conv.tile import pack_bias
from ..specs import DenseSpec, Floats, seconds
from .panels import DensePlan, PanelNest, Panels

Expr = Any
Buffer = Any


@dataclass(frozen=True)
class Dense:
    """Gemm and MatMul with a constant right-hand side."""

    name: str = "dense"

    def applicable(self, spec: DenseSpec, target: Target) -> str | None:
        return None if min(spec.batch, spec.inputs, spec.outputs) > 0 else "an empty operand"

    def layouts(self, spec: DenseSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (("NCHW", "NCHW"),)

    def workspace(self, spec: DenseSpec, target: Target) -> int:
        return target.isa.vector_bytes

    def estimate(self, spec: DenseSpec, target: Target) -> float:
        rows = up(spec.batch, self.plan(spec, target).panels.rows)
        macs = rows * spec.inputs * up(spec.outputs, target.lanes)
        bytes_ = float(spec.element_bytes) * spec.inputs * spec.outputs
        return seconds(target, macs, 0.75 if spec.batch > 1 else 0.4, bytes_) + 1e-6

    def tiling_words(self, spec: DenseSpec, target: Target) -> dict[str, str]:
        """What cuts the work, in words (see `Primitive.tiling`)."""
        return self.plan(spec, target).words

    def pack(
        self, spec: DenseSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        """`weights` are (inputs, outputs)."""
        packed = self.plan(spec, target).pack(weights)
        return (packed, *pack_bias(bias, spec.outputs, target.lanes))

    def kernel(self, spec: DenseSpec, target: Target) -> Kernel:
        plan = self.plan(spec, target)
        key = KernelSpec(self.name, spec, plan.panels, target.lanes)
        build = partial(_build, spec, plan)
        return Kernel(self.name, key, build, plan.tasks, self.workspace(spec, target))

    def plan(self, spec: DenseSpec, target: Target) -> DensePlan:
        registers, arithmetic = target.isa.vector_registers, plain_arithmetic(target, spec.dtype)
        if spec.batch == 1:
            arithmetic = by_rows(target, spec.dtype) or arithmetic
        vectors = min(4, -(-spec.outputs // target.lanes)) if spec.batch < registers // 4 else 2
        panels = Panels(min(spec.batch, arithmetic.tile_pixels(registers, vectors)), vectors)
        return DensePlan(spec.batch, spec.inputs, spec.outputs, panels, arithmetic)


def _build(spec: DenseSpec, plan: DensePlan) -> Any:
    def body(*args: Any) -> None:
        *inputs, output, workspace, begin, end = args
        _Nest(spec, plan, tuple(inputs), output, workspace).emit(begin, end)

    return prim_func(pointers(spec), body)


class _Nest(PanelNest):
    """Sums start at the bias and end in the epilogue."""

    def __init__(
        self, spec: DenseSpec, plan: DensePlan, inputs: tuple[Buffer, ...], output: Buffer, workspace: Buffer
    ) -> None:
        data, extras, (weights, *bias) = split_buffers(spec, inputs)
        super().__init__(plan, data, weights, view(workspace, spec.dtype))
        self.output, self.finish = output, Finish(spec, self.lanes, extras, bias[0] if bias else None)

    def start(self, column: Expr) -> Expr:
        return self.finish.start(column)

    def store(self, total: Expr, row: Expr, column: Expr, partial: int) -> None:
        index = row * self.plan.outputs + column
        if not partial:
            store(self.output, index, self.finish.applied(total, index, column), self.lanes)
            return
        one = replace(self.finish, lanes=1)
        store(self.workspace, 0, total, self.lanes)
        with T.serial(0, partial) as i:
            value = load(self.workspace, i, 1)
            store(self.output, index + i, one.applied(value, index + i, column + i), 1)


DENSE = Dense()
