"""Softmax and its logarithm along any axis: shifted by the largest element, so that nothing overflows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import T, load, prim_func, splat, store
from ...vector.loops import Expr, nest_tasks, task_nest, task_vectors, vector_rows
from ...vector.numeric import Numeric, convert, lanes_for
from ...vector.strips import Strip
from ..generic import Generic, storage


@dataclass(frozen=True)
class SoftmaxSpec:
    """Along the middle of (outer, count, inner)."""

    logarithm: bool
    outer: int
    count: int
    inner: int
    dtype: str

    @property
    def computed(self) -> str:
        return "float32" if self.dtype == "float16" else self.dtype


class Softmax(Generic):
    """Row-major. Vectors lie along the axis where it is the innermost, else across it."""

    name = "softmax"
    operators = ("softmax", "log_softmax")
    cost = 24.0

    def spec(self, op: Operator) -> SoftmaxSpec:
        x = op.operands[0].type
        axis, shape = (op["axis"] % x.rank, x.shape) if x.rank else (0, (1,))
        outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        return SoftmaxSpec(op.name.endswith("log_softmax"), outer, shape[axis], inner, storage(x.dtype))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        lanes = lanes_for((spec.dtype,), target.lanes)
        rows = (spec.outer,) if spec.inner == 1 else vector_rows((spec.outer,), spec.inner, lanes)
        tasks = nest_tasks(rows, _row_bytes(spec, lanes))
        return Kernel(op.name.split(".", 1)[1], spec, partial(_build, spec, lanes), tasks.count)


def _row_bytes(spec: SoftmaxSpec, lanes: int) -> float:
    return 24.0 * spec.count * (1 if spec.inner == 1 else lanes)


def _build(spec: SoftmaxSpec, lanes: int) -> Any:
    return prim_func([("x", spec.dtype), ("result", spec.dtype)], Body(spec, lanes))


class Body:
    """Emits three passes over every strip: largest, sum of exponentials, quotient."""

    def __init__(self, spec: SoftmaxSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes

    def __call__(self, x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        self.open(x, result)
        spec = self.spec
        row_bytes = _row_bytes(spec, self.lanes)
        if not spec.outer * spec.count * spec.inner:
            T.evaluate(0)
        elif spec.inner == 1:
            with task_nest((spec.outer,), row_bytes, begin, end) as index:
                self.strip(Strip(spec.count, self.lanes), index[0] * spec.count)
        else:
            task_vectors((spec.outer,), spec.inner, self.lanes, row_bytes, begin, end, self._across)

    def open(self, x: Any, result: Any) -> None:
        self.x, self.result = x, result

    def _across(self, index: list[Expr], start: Expr, width: int) -> None:
        spec = self.spec
        self.strip(
            Strip(spec.count, self.lanes, width, spec.inner), index[0] * (spec.count * spec.inner) + start
        )

    def strip(self, strip: Strip, base: Expr) -> None:
        """The passes over one, whose first element lies at `base`."""
        computed = self.spec.computed
        largest = strip.reduce(
            -math.inf, lambda o, w: self._load(base + o, w), lambda a, b: T.max(b, a), computed
        )

        def exponential(offset: Expr, width: int) -> Expr:
            shifted = self._load(base + offset, width) - strip.spread(largest, width)
            return Numeric(computed, width).unary("exp", shifted)

        total = strip.reduce(0.0, exponential, lambda a, b: a + b, computed)
        total[0] = self._of_total(total[0], strip.width)

        def finish(offset: Expr, width: int) -> None:
            if self.spec.logarithm:
                shifted = self._load(base + offset, width) - strip.spread(largest, width)
                value = shifted - strip.spread(total, width)
            else:
                value = exponential(offset, width) * strip.spread(total, width)
            self._store(base + offset, value, width)

        strip.each(finish)

    def _of_total(self, total: Expr, width: int) -> Expr:
        """What the sum of exponentials enters the result as: its logarithm, or its inverse."""
        if self.spec.logarithm:
            return Numeric(self.spec.computed, width).unary("log", total)
        return splat(1.0, width, self.spec.computed) / total

    def _load(self, at: Expr, width: int) -> Expr:
        return convert(load(self.x, at, width), self.spec.dtype, self.spec.computed, width)

    def _store(self, at: Expr, value: Expr, width: int) -> None:
        store(self.result, at, convert(value, self.spec.computed, self.spec.dtype, width), width)


PRIMITIVES = (Softmax(),)
