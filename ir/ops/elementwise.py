"""Element-wise operators: the rows of `ir.elementwise.FUNCTIONS`, chains of them, casts and selection."""

from __future__ import annotations

from collections.abc import Sequence

from ..elementwise import FUNCTIONS, Function
from ..opdef import Attribute, OpDef, Signature, TypeRule
from ..types import DType, TensorType
from .axes import ELEMENTWISE
from .compute import EPILOGUE
from .rows import register
from .rules import broadcast, require, same_dtype, with_epilogue


def _rule(row: Function) -> TypeRule:
    def infer(sig: Signature) -> Sequence[TensorType]:
        dtype = same_dtype(sig)
        require(row.accepts(dtype), f"{row.name} is not defined on {dtype.value}")
        return [TensorType(broadcast(*[t.shape for t in sig.types]), dtype)]

    return infer


def _declare(row: Function) -> None:
    params = tuple(Attribute(n, "float", d) for n, d in zip(row.params, row.defaults, strict=True))
    operands = ("x", "y")[: row.arity]
    register(
        OpDef(f"nn.{row.name}", row.doc, operands, _rule(row), params, elementwise_from=0, axes=ELEMENTWISE)
    )


for _row in FUNCTIONS.values():
    _declare(_row)


def _map(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    return with_epilogue(sig, x.shape, x.dtype, 1)


register(
    OpDef(
        "nn.map",
        "A chain of element-wise steps on one tensor.",
        ("x", "extras*"),
        _map,
        (EPILOGUE,),
        elementwise_from=0,
        axes=ELEMENTWISE,
    )
)


def _cast(sig: Signature) -> Sequence[TensorType]:
    return [TensorType(sig.types[0].shape, sig["dtype"])]


register(
    OpDef(
        "nn.cast",
        "Conversion of the element type, C rules (floats truncate).",
        ("x",),
        _cast,
        (Attribute("dtype", "dtype"),),
        axes=ELEMENTWISE,
    )
)


def _where(sig: Signature) -> Sequence[TensorType]:
    condition, x, y = sig.types
    require(condition.dtype == DType.BOOL, f"the condition is {condition.dtype.value}, not bool")
    require(x.dtype == y.dtype, f"branches are {x.dtype.value} and {y.dtype.value}")
    return [TensorType(broadcast(condition.shape, x.shape, y.shape), x.dtype)]


register(
    OpDef(
        "nn.where", "x where the condition holds, else y.", ("condition", "x", "y"), _where, axes=ELEMENTWISE
    )
)
