"""Where in its plane the largest element under a window is."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, prim_func, when
from ...vector.loops import Expr, dot, nest_tasks, row_major_strides, task_nest
from ...vector.numeric import convert
from ...vector.shuffles import hold
from ...vector.windows import Axis, tap_loop
from ..generic import Generic, storage
from .pool import taps_for_input, window_axes


@dataclass(frozen=True)
class PoolIndexSpec:
    """Windows over `images` planes."""

    images: int
    axes: tuple[Axis, ...]
    dtype: str

    @property
    def computed(self) -> str:
        """The type that is compared."""
        return "float32" if self.dtype == "float16" else self.dtype

    @property
    def box(self) -> tuple[int, ...]:
        return (self.images, *(a.out for a in self.axes))

    @property
    def row_bytes(self) -> float:
        """Of one position."""
        return 16.0


class PoolIndex(Generic):
    """Row-major, element by element."""

    name = "max_pool_index"
    operators = ("max_pool_index",)

    def vector_cost(self, op: Operator) -> float:
        return 32.0 * taps_for_input(op)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        x = op.operands[0].type
        spec = PoolIndexSpec(x.shape[0] * x.shape[1], window_axes(op), storage(x.dtype))
        return Kernel(self.name, spec, partial(_build, spec), nest_tasks(spec.box, spec.row_bytes).count)


def _build(spec: PoolIndexSpec) -> Any:
    def body(x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        if 0 in spec.box or not all(a.size for a in spec.axes):
            T.evaluate(0)
            return
        with task_nest(spec.box, spec.row_bytes, begin, end) as index:
            T.buffer_store(result, _place(spec, x, index), [dot(index, row_major_strides(spec.box))])

    return prim_func([("x", spec.dtype), ("result", "int64")], body)


def _place(spec: PoolIndexSpec, x: Any, index: list[Expr]) -> Expr:
    image, *positions = index
    strides = row_major_strides((spec.images, *(a.size for a in spec.axes)))
    best, found = Registers(1, 1, spec.computed), Registers(1, 1, "int32")
    best[0], found[0] = convert(x[image * strides[0]], spec.dtype, spec.computed, 1), -1
    with ExitStack() as stack:
        bounds = [a.taps(p) for a, p in zip(spec.axes, positions, strict=True)]
        taps = [stack.enter_context(tap_loop(b)) for b in bounds]
        places = [a.origin(p) + t * a.dilation for a, p, t in zip(spec.axes, positions, taps, strict=True)]
        place = hold(dot(places, strides[1:]), 1, "int32")
        value = hold(convert(x[image * strides[0] + place], spec.dtype, spec.computed, 1), 1, spec.computed)
        with when((found[0] < 0) | _wins(spec, value, best[0])):
            best[0], found[0] = value, place
    return T.Cast("int64", found[0])


def _wins(spec: PoolIndexSpec, value: Expr, best: Expr) -> Expr:
    """Whether a later element takes the place of the best so far; a NaN is larger than any number."""
    if not spec.dtype.startswith("float"):
        return value > best
    return (value > best) | (T.isnan(value) & ~T.isnan(best))


PRIMITIVES = (PoolIndex(),)
