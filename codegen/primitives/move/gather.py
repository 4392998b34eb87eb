"""Slices picked by indices along an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import T, load, prim_func, store
from ...vector.loops import Expr, dot, each_vector, nest_tasks, row_major_strides, task_nest
from ..elementwise.elementwise import argument_order
from ..generic import Generic, storage, type_after


@dataclass(frozen=True)
class GatherSpec:
    """result[o, j, i] = x[o, index[j], i]; negative indices count from the end; all are limited to it."""

    outer: int
    picked: int
    inner: int
    extent: int
    dtype: str
    index_type: str
    index_first: bool


class Gather(Generic):
    """Row-major. Indices outside the axis read its ends, so that no memory is read outside the operand."""

    name = "gather"
    operators = ("gather",)

    def spec(self, op: Operator) -> GatherSpec:
        x, indices = (v.type for v in op.operands)
        axis = op["axis"] % x.rank
        outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
        first = argument_order(op) == [1, 0]
        types = storage(x.dtype), storage(indices.dtype)
        return GatherSpec(outer, indices.elements, inner, x.shape[axis], *types, first)

    def applicable(self, op: Operator, target: Target) -> str | None:
        x = op.operands[0].type
        empty = x.elements == 0 and type_after(op).elements > 0
        return "an empty operand has nothing to pick" if empty else None

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        tasks = nest_tasks((spec.outer, spec.picked), 8.0 * spec.inner)
        return Kernel("gather", spec, partial(build, spec, target.lanes), tasks.count)


def build(spec: GatherSpec, lanes: int) -> Any:
    """The gather as a TIR function."""

    def body(first: Any, second: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        x, indices = (second, first) if spec.index_first else (first, second)
        if not spec.outer * spec.picked * spec.inner:
            T.evaluate(0)
            return
        box = (spec.outer, spec.picked)
        with task_nest(box, 8.0 * spec.inner, begin, end) as index:
            wanted = T.Cast("int32", indices[index[1]])
            wanted = T.Select(wanted < 0, wanted + spec.extent, wanted)
            wanted = T.max(0, T.min(wanted, spec.extent - 1))
            start = (index[0] * spec.extent + wanted) * spec.inner
            at = dot(index, row_major_strides((*box, spec.inner))[:-1])
            each_vector(
                spec.inner, lanes, lambda i, width: store(result, at + i, load(x, start + i, width), width)
            )

    names = [("x", spec.dtype), ("indices", spec.index_type)]
    return prim_func([*(reversed(names) if spec.index_first else names), ("result", spec.dtype)], body)


PRIMITIVES = (Gather(),)
