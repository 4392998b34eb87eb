"""Indices of the largest elements along an axis, in order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import T, prim_func, when
from ...vector.loops import Expr, nest_tasks, task_nest
from ...vector.numeric import convert
from ...vector.shuffles import hold
from ..generic import Generic, storage


@dataclass(frozen=True)
class TopKSpec:
    """Along the middle of (outer, count, inner)."""

    outer: int
    count: int
    inner: int
    k: int
    dtype: str
    largest: bool

    @property
    def computed(self) -> str:
        """The type that is compared."""
        return "float32" if self.dtype == "float16" else self.dtype

    @property
    def row_bytes(self) -> float:
        return 16.0 * self.count


class TopK(Generic):
    """Row-major, by insertion: the result is the list of the best so far, which few elements get into."""

    name = "top_k"
    operators = ("top_k",)
    cost = 16.0

    def spec(self, op: Operator) -> TopKSpec:
        x = op.operands[0].type
        axis = op["axis"] % x.rank
        outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
        return TopKSpec(outer, x.shape[axis], inner, op["k"], storage(x.dtype), op["largest"])

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        tasks = nest_tasks((spec.outer, spec.inner), spec.row_bytes)
        return Kernel("top_k", spec, partial(_build, spec), tasks.count)


def _build(spec: TopKSpec) -> Any:
    def body(x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        if not spec.outer * spec.inner * spec.k:
            T.evaluate(0)
            return
        with task_nest((spec.outer, spec.inner), spec.row_bytes, begin, end) as (outer, inner):
            _row(spec, x, result, outer, inner)

    return prim_func([("x", spec.dtype), ("result", "int64")], body)


def _row(spec: TopKSpec, x: Any, result: Any, outer: Expr, inner: Expr) -> None:
    source, target = outer * (spec.count * spec.inner) + inner, outer * (spec.k * spec.inner) + inner

    def element(index: Expr) -> Expr:
        return compared(spec, x, source + T.Cast("int32", index) * spec.inner)

    def slot(place: Expr) -> Expr:
        return target + place * spec.inner

    with T.serial(0, spec.count) as i:
        value = element(i)
        held = hold(T.min(i, spec.k), 1, "int32")
        last = T.Select(i < spec.k, T.int64(0), result[slot(spec.k - 1)])  # not known before it is written
        with when((i < spec.k) | before(spec, value, element(last))):
            _insert(spec, value, i, held, result, element, slot)


def compared(spec: TopKSpec, x: Any, at: Expr) -> Expr:
    """The element at a place, as it is compared."""
    return hold(convert(x[at], spec.dtype, spec.computed, 1), 1, spec.computed)


def _insert(
    spec: TopKSpec, value: Expr, index: Expr, held: Expr, result: Any, element: Any, slot: Any
) -> None:
    """Moves those that come after it one place on, from the last of the `held` ones; it takes the first's."""
    place = T.alloc_buffer((1,), "int32", scope="local", layout=None)
    T.buffer_store(place, held, [0])
    with T.serial(0, held) as step:
        other = hold(held - 1 - step, 1, "int32")
        with when(before(spec, value, element(result[slot(other)]))):
            with when(other + 1 < spec.k):
                T.buffer_store(result, result[slot(other)], [slot(other + 1)])
            T.buffer_store(place, other, [0])
    T.buffer_store(result, T.Cast("int64", index), [slot(place[0])])


def before(spec: TopKSpec, value: Expr, other: Expr) -> Expr:
    """Whether a later element comes before an earlier one; a NaN is larger than any number."""
    wins = value > other if spec.largest else value < other
    if not spec.dtype.startswith("float"):
        return wins
    first, second = (value, other) if spec.largest else (other, value)
    return wins | (T.isnan(first) & ~T.isnan(second))


PRIMITIVES = (TopK(),)
