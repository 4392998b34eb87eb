"""The ending of generic kernels with sums, in any element type: rounding, broadcast epilogue, store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.ir.elementwise import Epilogue
from secateur.ir.graph import Operator

from ..tir import load, splat, store
from ..vector.epilogue import apply
from ..vector.loops import Expr, broadcast_strides, dot
from ..vector.numeric import Numeric, convert
from .elementwise.elementwise import argument_order
from .generic import storage, type_after


@dataclass(frozen=True)
class FinishSpec:
    """Epilogue steps; each extra operand's strides over the result's dimensions, which are row-major."""

    dtype: str
    epilogue: Epilogue = ()
    strides: tuple[tuple[int, ...], ...] = ()

    @property
    def computed(self) -> str:
        """The type that sums are kept in."""
        return "float32" if self.dtype == "float16" else self.dtype


def finish_spec(op: Operator) -> FinishSpec:
    """The ending of an operator whose operands after two feed its epilogue."""
    to = type_after(op)
    strides = tuple(broadcast_strides(v.type.shape, to.shape) for v in op.operands[2:])
    return FinishSpec(storage(to.dtype), op["epilogue"], strides)


def pointer_places(op: Operator) -> tuple[int, ...]:
    """For each operand, the position of its pointer."""
    order = argument_order(op)
    return tuple(order.index(i) for i in range(len(order)))


class Finish:
    """Stores vectors along the result's innermost dimension."""

    def __init__(self, spec: FinishSpec, extras: Sequence[Any], result: Any) -> None:
        self.spec, self.extras, self.result = spec, extras, result

    def store(self, value: Expr, index: Sequence[Expr], at: Expr, width: int) -> None:
        """`value`, in the type of sums, for the `width` results from multi-index `index`, offset `at`, on."""
        value = convert(value, self.spec.computed, self.spec.dtype, width)
        numeric = Numeric(self.spec.dtype, width)
        store(
            self.result,
            at,
            apply(self.spec.epilogue, value, lambda i: self._extra(i, index, width), numeric),
            width,
        )

    def _extra(self, number: int, index: Sequence[Expr], width: int) -> Expr:
        strides, buffer = self.spec.strides[number], self.extras[number]
        start = dot(index, strides)
        return load(buffer, start, width) if strides[-1] else splat(buffer[start], width, self.spec.dtype)
