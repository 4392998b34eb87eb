"""Running sums along an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, store
from ...vector.loops import Expr, nest_tasks, task_vectors, vector_rows
from ...vector.numeric import convert, lanes_for, start_value
from ..generic import Generic, storage


@dataclass(frozen=True)
class CumSumSpec:
    """Along the middle of (outer, count, inner)."""

    outer: int
    count: int
    inner: int
    dtype: str
    exclusive: bool
    reverse: bool

    @property
    def computed(self) -> str:
        """The type of sums."""
        return "float32" if self.dtype == "float16" else self.dtype


class CumSum(Generic):
    """Row-major; vectors lie across the axis."""

    name = "cumsum"
    operators = ("cumsum",)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        x = op.operands[0].type
        axis = op["axis"] % x.rank
        outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
        spec = CumSumSpec(outer, x.shape[axis], inner, storage(x.dtype), op["exclusive"], op["reverse"])
        lanes = lanes_for((spec.dtype,), target.lanes)
        tasks = nest_tasks(vector_rows((outer,), inner, lanes), 8.0 * spec.count * lanes)
        return Kernel("cumsum", spec, partial(_build, spec, lanes), tasks.count)


def _build(spec: CumSumSpec, lanes: int) -> Any:
    def body(x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        def vector(index: list[Expr], start: Expr, width: int) -> None:
            _column(spec, x, result, index[0] * (spec.count * spec.inner) + start, width)

        if not spec.outer * spec.count * spec.inner:
            T.evaluate(0)
            return
        task_vectors((spec.outer,), spec.inner, lanes, 8.0 * spec.count * lanes, begin, end, vector)

    return prim_func([("x", spec.dtype), ("result", spec.dtype)], body)


def _column(spec: CumSumSpec, x: Any, result: Any, base: Expr, width: int) -> None:
    """`width` neighbouring sums."""
    total = Registers(1, width, spec.computed)
    total.fill(start_value(spec.computed))
    with T.serial(0, spec.count) as step:
        at = base + (spec.count - 1 - step if spec.reverse else step) * spec.inner
        if spec.exclusive:
            store(result, at, convert(total[0], spec.computed, spec.dtype, width), width)
        total[0] = total[0] + convert(load(x, at, width), spec.dtype, spec.computed, width)
        if not spec.exclusive:
            store(result, at, convert(total[0], spec.computed, spec.dtype, width), width)


PRIMITIVES = (CumSum(),)
