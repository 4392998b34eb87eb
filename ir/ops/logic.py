"""Comparisons and boolean operators."""

from __future__ import annotations

from collections.abc import Sequence

from ..opdef import OpDef, Signature
from ..types import DType, TensorType
from .axes import ELEMENTWISE
from .rows import register
from .rules import broadcast, require, same_dtype


def _compare(sig: Signature) -> Sequence[TensorType]:
    same_dtype(sig)
    return [TensorType(broadcast(*[t.shape for t in sig.types]), DType.BOOL)]


def _boolean(sig: Signature) -> Sequence[TensorType]:
    require(all(t.dtype == DType.BOOL for t in sig.types), "operands must be bool")
    return _compare(sig)


for _name, _sign in {
    "equal": "=",
    "greater": ">",
    "greater_equal": ">=",
    "less": "<",
    "less_equal": "<=",
}.items():
    register(OpDef(f"nn.{_name}", f"x {_sign} y, as bool.", ("x", "y"), _compare, axes=ELEMENTWISE))

for _name in ("and", "or", "xor"):
    register(OpDef(f"nn.{_name}", f"Logical {_name} of booleans.", ("x", "y"), _boolean, axes=ELEMENTWISE))

register(OpDef("nn.not", "Logical negation.", ("x",), _boolean, axes=ELEMENTWISE))
