"""Operators that compute the same whatever the order of their axes, and how for another order.

A value x *permuted by p* is kept as x' with x = transpose(x') {p}: axis i of x is axis p[i] of x'. For an
operator f here there is f' with f(transpose(x') {p}, ...) = transpose(f'(x', ...)) {p}: what f says of
axis i, f' says of axis p[i].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.ops.axes import ELEMENTWISE

Perm = tuple[int, ...]


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes another."""
    return tuple(sorted(range(len(perm)), key=perm.__getitem__))


def _along(op: Operator, perm: Perm, *names: str) -> dict[str, Any]:
    """Attributes that hold an entry, or one at each end, for each axis."""
    rank, back = len(perm), inverse(perm)
    given = {name: op[name] for name in names}
    order = [*back, *(rank + b for b in back)]
    return {name: tuple(values[i] for i in order[: len(values)]) for name, values in given.items()}


def _at_axis(op: Operator, perm: Perm) -> dict[str, Any]:
    return {"axis": perm[op["axis"] % len(perm)]}


def _nothing(_op: Operator, _perm: Perm) -> dict[str, Any]:
    return {}


def _reduced(op: Operator, perm: Perm) -> dict[str, Any]:
    return {"axes": tuple(sorted(perm[a % len(perm)] for a in op["axes"]))}


def _resized(op: Operator, perm: Perm) -> dict[str, Any]:
    return _along(op, perm, "shape", "scales", "roi")


How = Callable[[Operator, Perm], dict[str, Any]]

_HOW: dict[str, How] = {
    "nn.concat": _at_axis,
    "nn.softmax": _at_axis,
    "nn.log_softmax": _at_axis,
    "nn.cumsum": _at_axis,
    "nn.pad": lambda op, perm: _along(op, perm, "pads"),
    "nn.slice": lambda op, perm: _along(op, perm, "starts", "sizes", "steps"),
    "nn.tile": lambda op, perm: _along(op, perm, "repeats"),
    "nn.resize": _resized,
    **dict.fromkeys(("q.quantize", "q.dequantize", "q.annotate", "q.table"), _nothing),
}
_KINDS = ("mean", "sum", "prod", "l1", "l2", "sum_square", "log_sum", "max", "min")
REDUCTIONS = frozenset(f"nn.reduce_{kind}" for kind in _KINDS)


def data_of(op: Operator) -> range:
    """Which operands have the axes that are put in order."""
    return range(1) if op.name == "q.table" else range(len(op.operands))


def is_elementwise(op: Operator) -> bool:
    """Whether each element of the result is computed from those at its place."""
    return op.definition.axes is ELEMENTWISE


def drops_axes(op: Operator) -> bool:
    """Whether the result lacks axes, so that it has none in another order."""
    return op.name in REDUCTIONS and not op["keepdims"]


def permuted(op: Operator, perm: Perm) -> dict[str, Any] | None:
    """The attributes that change where operands are permuted; None where the operator has no such form.

    A reduction that drops axes has one where those it keeps stay in order: its result is the same.
    """
    rank = max((v.type.rank for v in op.operands), default=0)
    if op.name.startswith("prim.") or rank != len(perm) or len(op.results) != 1 or _scaled_by_axis(op):
        return None
    if is_elementwise(op):
        return {}
    if op.name in REDUCTIONS:
        changed = _reduced(op, perm)
        kept = [p for i, p in enumerate(perm) if i not in {a % rank for a in op["axes"]}]
        return None if drops_axes(op) and kept != sorted(kept) else changed
    how = _HOW.get(op.name)
    return how(op, perm) if how is not None else None


def _scaled_by_axis(op: Operator) -> bool:
    """Whether a value has scales along an axis, which a transpose of it does not carry on."""
    values = (*op.operands, op.result)
    return any(v.type.quant is not None and v.type.quant.axis is not None for v in values)
