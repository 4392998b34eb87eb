"""The index of the largest element along an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, splat, store
from ...vector.loops import Expr, nest_tasks, task_vectors, vector_rows
from ...vector.numeric import lanes_for
from ...vector.shuffles import hold
from ..generic import Generic, storage


@dataclass(frozen=True)
class ArgMaxSpec:
    """Along the middle of (outer, count, inner); of equal elements the first, or the last."""

    outer: int
    count: int
    inner: int
    dtype: str
    last: bool


class ArgMax(Generic):
    """Row-major; vectors lie across the axis."""

    name = "argmax"
    operators = ("argmax",)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        x = op.operands[0].type
        axis = op["axis"] % x.rank
        outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
        spec = ArgMaxSpec(outer, x.shape[axis], inner, storage(x.dtype), op["select_last"])
        lanes = lanes_for((spec.dtype,), target.lanes)
        tasks = nest_tasks(vector_rows((outer,), inner, lanes), 8.0 * spec.count * lanes)
        return Kernel("argmax", spec, partial(_build, spec, lanes), tasks.count)


def _build(spec: ArgMaxSpec, lanes: int) -> Any:
    def body(x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        def vector(index: list[Expr], start: Expr, width: int) -> None:
            _vector(spec, x, result, index[0], start, width)

        if not spec.outer * spec.inner:
            T.evaluate(0)
            return
        task_vectors((spec.outer,), spec.inner, lanes, 8.0 * spec.count * lanes, begin, end, vector)

    return prim_func([("x", spec.dtype), ("result", "int64")], body)


def _vector(spec: ArgMaxSpec, x: Any, result: Any, outer: Expr, start: Expr, width: int) -> None:
    """`width` neighbouring results."""
    base = outer * (spec.count * spec.inner) + start
    best, place = Registers(1, width, spec.dtype), Registers(1, width, "int32")
    best[0] = load(x, base, width)
    place.fill(0)
    with T.serial(1, spec.count) as i:
        value = hold(load(x, base + i * spec.inner, width), width, spec.dtype)
        wins = _wins(spec, value, best[0])
        place[0] = T.Select(wins, splat(i, width, "int32"), place[0])
        best[0] = T.Select(wins, value, best[0])
    wide = place[0].astype("int64" if width == 1 else f"int64x{width}")
    store(result, outer * spec.inner + start, wide, width)


def _wins(spec: ArgMaxSpec, value: Expr, best: Expr) -> Expr:
    """Whether a later element takes the place of the best so far; a NaN is larger than any number."""
    larger = value >= best if spec.last else value > best
    if not spec.dtype.startswith("float"):
        return larger
    return larger | (T.isnan(value) if spec.last else T.isnan(value) & ~T.isnan(best))


PRIMITIVES = (ArgMax(),)
