"""Elements put at places that indices name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import T, load, prim_func, store, when
from ...vector.loops import Expr, each_vector, nest_tasks, task_vectors, vector_rows
from ...vector.numeric import Numeric, lanes_for
from ..elementwise.elementwise import argument_order
from ..generic import Generic, storage


@dataclass(frozen=True)
class ScatterSpec:
    """result[o, index[o, j], i] = updates[o, j, i], or a function of the two; everything else is x's.

    `order` numbers the operands x, indices and updates among the kernel's pointers.
    """

    outer: int
    extent: int
    count: int
    inner: int
    dtype: str
    index_type: str
    reduction: str
    order: tuple[int, ...]


class Scatter(Generic):
    """Row-major; updates come one after the other. Indices outside the axis are left out."""

    name = "scatter"
    operators = ("scatter",)
    cost = 8.0

    def spec(self, op: Operator) -> ScatterSpec:
        x, indices = (v.type for v in op.operands[:2])
        order = argument_order(op)
        return ScatterSpec(
            x.shape[0], x.shape[1], indices.shape[1], math.prod(x.shape[2:]), storage(x.dtype),
            storage(indices.dtype), op["reduction"], tuple(order.index(i) for i in range(3)),
        )  # fmt: skip

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        lanes = lanes_for((spec.dtype,), target.lanes)
        tasks = nest_tasks(vector_rows((spec.outer,), spec.inner, lanes), _row_bytes(spec, lanes))
        return Kernel("scatter", spec, partial(_build, spec, lanes), tasks.count)


def _row_bytes(spec: ScatterSpec, lanes: int) -> float:
    return 8.0 * (spec.extent + spec.count) * min(spec.inner, lanes)


def _build(spec: ScatterSpec, lanes: int) -> Any:
    def body(*arguments: Any) -> None:
        *inputs, result, _workspace, begin, end = arguments
        x, indices, updates = (inputs[i] for i in spec.order)

        def column(index: list[Expr], start: Expr, width: int) -> None:
            _copied(spec, x, result, index[0], start, width, lanes)
            _put(spec, (indices, updates), result, index[0], start, width)

        if not spec.outer * spec.extent * spec.inner:
            T.evaluate(0)
            return
        row_bytes = _row_bytes(spec, lanes)
        task_vectors((spec.outer,), spec.inner, lanes, row_bytes, begin, end, column)

    types = dict(zip(spec.order, (spec.dtype, spec.index_type, spec.dtype), strict=True))
    return prim_func([*((f"x{i}", types[i]) for i in range(3)), ("result", spec.dtype)], body)


def _copied(spec: ScatterSpec, x: Any, result: Any, outer: Expr, start: Expr, width: int, lanes: int) -> None:
    """Of row `outer` the columns that begin at `start`; a single column lies in one piece."""
    base = outer * (spec.extent * spec.inner)
    if spec.inner == 1:
        each_vector(spec.extent, lanes, lambda i, n: store(result, base + i, load(x, base + i, n), n))
        return
    with T.serial(0, spec.extent) as place:
        at = base + place * spec.inner + start
        store(result, at, load(x, at, width), width)


def _put(
    spec: ScatterSpec, sources: tuple[Any, Any], result: Any, outer: Expr, start: Expr, width: int
) -> None:
    if not spec.count:
        return
    indices, updates = sources
    with T.serial(0, spec.count) as j:
        wanted = T.Cast("int64", indices[outer * spec.count + j])
        wanted = T.Select(wanted < 0, wanted + spec.extent, wanted)
        with when((wanted >= 0) & (wanted < spec.extent)):
            place = T.Cast("int32", wanted)
            at = (outer * spec.extent + place) * spec.inner + start
            value = load(updates, (outer * spec.count + j) * spec.inner + start, width)
            if spec.reduction != "none":
                value = Numeric(spec.dtype, width).binary(spec.reduction, load(result, at, width), value)
            store(result, at, value, width)


PRIMITIVES = (Scatter(),)
