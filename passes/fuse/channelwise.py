"""Operators that compute each channel from the same channel of their data, and how for some channels alone.

Picking channels before such an operator and picking them after it is the same, so a pick moves through
it in either direction: f(x)[:, picks] = f'(x[:, picks]), where f' has the constants of these channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.ir.elementwise import FUNCTIONS
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.registry import create
from secateur.ir.rewrite import Match

UNARY = frozenset(f"nn.{f.name}" for f in FUNCTIONS.values() if f.arity == 1)
BINARY = frozenset(f"nn.{f.name}" for f in FUNCTIONS.values() if f.arity == 2)
POOLS = frozenset({"nn.max_pool", "nn.average_pool"})
REDUCTIONS = frozenset(f"nn.reduce_{kind}" for kind in ("mean", "sum", "max", "min", "l1", "l2"))


@dataclass(frozen=True)
class Channelwise:
    """Operand `data` has the channels along axis 1; constants have them along the axis given for each.

    `attributes` are those that name the number of channels, as functions of it.
    """

    data: int = 0
    constants: Mapping[int, int] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


def channelwise(op: Operator) -> Channelwise | None:
    """How the operator treats channels one by one, or None where it does not."""
    if not op.results or op.result.type.rank < 2:
        return None
    if op.name in UNARY or op.name in POOLS:
        return Channelwise()
    if op.name in BINARY:
        return _of_binary(op)
    find = _OTHERS.get(op.name) if op.name not in REDUCTIONS else _of_reduction
    return find(op) if find else None


def _of_binary(op: Operator) -> Channelwise | None:
    """With a constant that broadcasts to the other operand."""
    constants = [at for at, v in enumerate(op.operands) if v.is_constant]
    if len(constants) != 1:
        return None
    constant, data = op.operands[constants[0]], op.operands[1 - constants[0]]
    if data.type.shape != op.result.type.shape:
        return None
    return Channelwise(1 - constants[0], _along(constant, data, constants[0]))


def _along(constant: Value, data: Value, at: int) -> dict[int, int]:
    """Where a constant operand that broadcasts to `data` has the channels, if it has them."""
    axis = 1 - (data.type.rank - constant.type.rank)
    varies = axis >= 0 and constant.type.shape[axis] != 1
    return {at: axis} if varies else {}


def _of_batch_norm(op: Operator) -> Channelwise | None:
    constant = all(v.is_constant for v in op.operands[1:])
    return Channelwise(0, dict.fromkeys(range(1, 5), 0)) if constant else None


def _of_depthwise(op: Operator) -> Channelwise | None:
    """One filter for each channel, a bias or scale of each at most in the epilogue."""
    x, w = op.operands[0].type, op.operands[1]
    if not (op["groups"] == x.shape[1] == w.type.shape[0] and w.is_constant):
        return None
    extras = constant_extras(op)
    return None if extras is None else Channelwise(0, {1: 0, **extras}, {"groups": lambda n: n})


def constant_extras(op: Operator) -> dict[int, int] | None:
    """The axis of the channels in each operand of a convolution's epilogue; None where one is computed."""
    found: dict[int, int] = {}
    for at, value in list(enumerate(op.operands))[2:]:
        if not value.is_constant:
            return None
        found |= _along(value, op.result, at)
    return found


def _of_reduction(op: Operator) -> Channelwise | None:
    axes = {a % op.operands[0].type.rank for a in op["axes"]}
    return Channelwise() if axes and not axes & {0, 1} else None


def _of_slice(op: Operator) -> Channelwise | None:
    whole = op["steps"][1] == 1 and op["sizes"][1] == op.operands[0].type.shape[1]
    return Channelwise(attributes={"sizes": _second(op["sizes"])}) if whole else None


def _of_pad(op: Operator) -> Channelwise | None:
    pads, rank = op["pads"], op.result.type.rank
    return Channelwise() if not pads[1] and not pads[rank + 1] else None


def _of_resize(op: Operator) -> Channelwise | None:
    plain = op["scales"][1] == 1.0 and op["coordinates"] != "tf_crop_and_resize"
    plain = plain and op["shape"][1] == op.operands[0].type.shape[1]
    return Channelwise(attributes={"shape": _second(op["shape"])}) if plain else None


def _second(shape: Sequence[int]) -> Any:
    return lambda n: (shape[0], n, *shape[2:])


_OTHERS = {
    "nn.batch_norm": _of_batch_norm,
    "nn.conv": _of_depthwise,
    "nn.slice": _of_slice,
    "nn.pad": _of_pad,
    "nn.resize": _of_resize,
}


def picked(m: Match, value: Value, axis: int, picks: Sequence[int]) -> Value:
    """A constant's elements at `picks` along an axis: a new constant, unless these are all in order."""
    array = constant_of(value)
    assert array is not None
    if tuple(picks) == tuple(range(array.shape[axis])):
        return value
    return m.constant(np.take(array, np.array(picks, np.intp), axis), value.name)


def again(m: Match, op: Operator, operands: Sequence[Value], **changed: Any) -> Value:
    """The operator once more, on other operands and with some other attributes, under its own location."""
    new = create(op.name, operands, {**op.attributes, **changed}, op.loc)
    m.created.append(new)
    return new.result


def on_channels(m: Match, op: Operator, x: Value, picks: Sequence[int]) -> Value:
    """A channelwise operator on `x`, whose channels are those of its data at `picks`."""
    how = channelwise(op)
    assert how is not None
    operands = [
        picked(m, v, how.constants[at], picks) if at in how.constants else v
        for at, v in enumerate(op.operands)
    ]
    operands[how.data] = x
    return again(m, op, operands, **{name: of(len(picks)) for name, of in how.attributes.items()})
