"""What the elements of a value lie between, whatever the inputs: signs first of all.

After a ReLU nothing is negative, nor in a max or average pool of it, nor in a concatenation or sum
of such values; after a ReLU6 nothing is above 6. So a ReLU of what cannot be negative does nothing.
NaNs are no matter: every function here keeps them.

A value's bounds are found from its producer's operands by the rules of `_RULES` (by operator) and
`_STEPS` (functions, also as steps of an epilogue); what no rule is for may be anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from .elementwise import FUNCTIONS, Step
from .graph import Operator, Value


class Bounds(NamedTuple):
    """No element is below `low` or above `high`."""

    low: float
    high: float

    def within(self, low: float, high: float) -> bool:
        """Whether all elements lie from `low` to `high`."""
        return low <= self.low and self.high <= high


ANYTHING = Bounds(-math.inf, math.inf)
ZERO = Bounds(0.0, 0.0)
Rule = Callable[[Operator, Sequence[Bounds]], Bounds]


def hull(*bounds: Bounds) -> Bounds:
    """What lies in one or the other."""
    return Bounds(min(b.low for b in bounds), max(b.high for b in bounds))


# Functions -----------------------------------------------------------------------------------------

_RISING = {
    "relu", "clip", "sigmoid", "tanh", "softplus", "exp", "sqrt", "sign", "floor", "ceil", "round",
}  # fmt: skip
_FIXED = {
    "abs": Bounds(0.0, math.inf), "hard_sigmoid": Bounds(0.0, 1.0), "softsign": Bounds(-1.0, 1.0),
    "sin": Bounds(-1.0, 1.0), "cos": Bounds(-1.0, 1.0), "erf": Bounds(-1.0, 1.0),
}  # fmt: skip


def _sum(a: Bounds, b: Bounds) -> Bounds:
    low, high = a.low + b.low, a.high + b.high
    return ANYTHING if math.isnan(low) or math.isnan(high) else Bounds(low, high)


def _negative(a: Bounds) -> Bounds:
    return Bounds(-a.high, -a.low)


def _product(a: Bounds, b: Bounds) -> Bounds:
    ends = [0.0 if 0.0 in (x, y) else x * y for x in a for y in b]
    return Bounds(min(ends), max(ends))


_BINARY: dict[str, Callable[[Bounds, Bounds], Bounds]] = {
    "add": _sum,
    "sub": lambda a, b: _sum(a, _negative(b)),
    "rsub": lambda a, b: _sum(b, _negative(a)),
    "mul": _product,
    "min": lambda a, b: Bounds(min(a.low, b.low), min(a.high, b.high)),
    "max": lambda a, b: Bounds(max(a.low, b.low), max(a.high, b.high)),
}


def _of_step(step: Step, x: Bounds, extra: Bounds) -> Bounds:
    """Bounds of a function of values within `x` and `extra`."""
    if step.op in _BINARY:
        return _BINARY[step.op](x, extra)
    if step.op == "neg":
        return _negative(x)
    if step.op not in _RISING:
        return _FIXED.get(step.op, ANYTHING)
    with np.errstate(all="ignore"):
        ends = step.function.evaluate(np.array(x), *step.params)
    return ANYTHING if np.isnan(ends).any() else Bounds(float(ends.min()), float(ends.max()))


def after_step(step: Step, x: Bounds) -> Bounds:
    """Bounds of a unary function of values within `x`."""
    return _of_step(step, x, ANYTHING)


def _of_function(op: Operator, operands: Sequence[Bounds]) -> Bounds:
    function = FUNCTIONS[op.name.split(".", 1)[1]]
    step = Step(function.name, tuple(op[p] for p in function.params))
    return _of_step(step, operands[0], operands[-1])


# Operators -----------------------------------------------------------------------------------------


def _after_epilogue(op: Operator, x: Bounds, extras: Sequence[Bounds]) -> Bounds:
    rest = iter(extras)
    for step in op["epilogue"]:
        x = _of_step(step, x, next(rest) if step.function.arity == 2 else ANYTHING)
    return x


def _map(op: Operator, operands: Sequence[Bounds]) -> Bounds:
    return _after_epilogue(op, operands[0], operands[1:])


def _linear(op: Operator, operands: Sequence[Bounds]) -> Bounds:
    extras = list(operands[2:])
    if op.get("reach"):
        extras[-1] = hull(extras[-1], Bounds(0.0, 0.0))
    return _after_epilogue(op, ANYTHING, extras)


def _same(_: Operator, operands: Sequence[Bounds]) -> Bounds:
    return hull(*operands) if operands else ANYTHING


def _first(_: Operator, operands: Sequence[Bounds]) -> Bounds:
    return operands[0]


def _average_pool(op: Operator, operands: Sequence[Bounds]) -> Bounds:
    counted = op["count_include_pad"] and any(op["pads"])
    return hull(operands[0], ZERO) if counted else operands[0]


def _pad(op: Operator, operands: Sequence[Bounds]) -> Bounds:
    filled = Bounds(op["value"], op["value"])
    return hull(operands[0], filled) if op["mode"] == "constant" else operands[0]


def _resize(op: Operator, operands: Sequence[Bounds]) -> Bounds:
    return operands[0] if op.definition.is_move(op.attributes) else ANYTHING


def _channel_sum(_: Operator, operands: Sequence[Bounds]) -> Bounds:
    """What an operand does not cover, it adds nothing to."""
    return reduce(_sum, (hull(b, ZERO) for b in operands))


def _constant(op: Operator, _: Sequence[Bounds]) -> Bounds:
    array = op["value"]
    if not array.size or np.isnan(array).any():
        return ANYTHING
    return Bounds(float(array.min()), float(array.max()))


def _between(low: float, high: float) -> Rule:
    return lambda _op, _operands: Bounds(low, high)


_MOVES = (
    "reshape",
    "transpose",
    "expand",
    "tile",
    "concat",
    "slice",
    "carry",
    "depth_to_space",
    "space_to_depth",
)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(FUNCTIONS, _of_function),
    **dict.fromkeys(_MOVES, _same),
    **dict.fromkeys(("gather", "max_pool", "reduce_mean", "reduce_max", "reduce_min"), _first),
    **dict.fromkeys(("reduce_l1", "reduce_l2", "reduce_sum_square"), _between(0.0, math.inf)),
    **dict.fromkeys(("conv", "conv_transpose", "matmul"), _linear),
    "softmax": _between(0.0, 1.0),
    "average_pool": _average_pool,
    "pad": _pad,
    "resize": _resize,
    "channel_sum": _channel_sum,
    "constant": _constant,
    "map": _map,
}  # fmt: skip


def _rule(value: Value) -> Rule | None:
    op = value.producer
    if op is None or not (value.type.dtype.is_float or value.is_constant):
        return None
    return _RULES.get(op.name.split(".", 1)[1])


def bounds_of(value: Value) -> Bounds:
    """The bounds of one value, from what it is computed from."""
    known: dict[Value, Bounds] = {}
    stack = [value]
    while stack:
        at = stack[-1]
        rule, op = _rule(at), at.producer
        missing = [v for v in op.operands if v not in known] if rule and op else []
        if missing and at not in known:
            stack += missing
            continue
        stack.pop()
        known[at] = rule(op, [known[v] for v in op.operands]) if rule and op else ANYTHING
    return known[value]
