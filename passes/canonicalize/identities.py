"""Arithmetic identities, each a row."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from secateur.ir.graph import Value
from secateur.ir.rewrite import Any_, Array, Const, Match, Op, Rule, always
from secateur.ir.types import DType

_X, _C = Any_("x"), Const("c")


def _all(array: Array, wanted: float) -> bool:
    return bool((array == wanted).all())


def _guard_all(wanted: float) -> Callable[[Match], None]:
    def guard(m: Match) -> None:
        m.need(_all(m.array("c"), wanted), f"the constant is not {wanted:g} everywhere")
        m.need(m.value("x").type == m.root.result.type, "the constant broadcasts the other operand")

    return guard


def _neutral(m: Match) -> Value:
    """x + 0, x - 0, x 1, x / 1, x to the 1   ->   x

    where the constant does not broadcast x. (The sign of a zero is not kept.)
    """
    return m.value("x")


def _scalar(m: Match) -> float:
    return float(m.array("c").reshape(-1)[0])


def _guard_scalar(m: Match) -> None:
    """One finite or infinite value in the constant, which does not broadcast x, and float elements."""
    c = m.array("c")
    m.need(c.size > 0 and _all(c, float(c.reshape(-1)[0])), "the constant is not one value")
    m.need(m.root.result.type.dtype.is_float, f"clip is not defined on {m.root.result.type.dtype.value}")
    m.need(m.value("x").type == m.root.result.type, "the constant broadcasts the other operand")


def _max(m: Match) -> Value:
    """max(x, c)   ->   clip(x) {min = c}

    where c is one value, not broadcasting x, of a float type.
    """
    return m.new("nn.clip", [m.value("x")], min=_scalar(m), max=math.inf)


def _min(m: Match) -> Value:
    """min(x, c)   ->   clip(x) {max = c}

    where c is one value, not broadcasting x, of a float type.
    """
    return m.new("nn.clip", [m.value("x")], min=-math.inf, max=_scalar(m))


def _limits(m: Match, name: str) -> tuple[float, float]:
    op = m.op(name)
    return (0.0, math.inf) if op.name == "nn.relu" else (op["min"], op["max"])


def _guard_limits(m: Match) -> None:
    for name in ("inner", "outer"):
        low, high = _limits(m, name)
        m.need(low <= high, "its lower limit exceeds its upper one", m.op(name))


def _clip_clip(m: Match) -> Value:
    """clip(clip(x) {a, b}) {c, d}   ->   clip(x) {max(a, c) but at most d, b brought into [c, d]}

    where a <= b and c <= d; relu is clip {0, inf}.
    """
    (a, b), (c, d) = _limits(m, "inner"), _limits(m, "outer")
    low, high = min(max(a, c), d), min(max(b, c), d)
    return m.new("nn.clip", [m.value("x")], min=low, max=high)


def _guard_relu(m: Match) -> None:
    m.need(
        m.root["min"] == 0.0 and m.root["max"] == math.inf,
        f"limits are [{m.root['min']:g}, {m.root['max']:g}]",
    )


def _relu(m: Match) -> Value:
    """clip(x) {0, inf}   ->   relu(x)"""
    return m.new("nn.relu", [m.value("x")])


def _guard_unlimited(m: Match) -> None:
    limits = (m.root["min"], m.root["max"])
    m.need(limits == (-math.inf, math.inf), f"limits are [{limits[0]:g}, {limits[1]:g}]")


def _same(m: Match) -> Value:
    """clip(x) {-inf, inf}, cast(x) to its own type, neg(neg(x))   ->   x"""
    return m.value("x")


def _guard_cast(m: Match) -> None:
    m.need(m.value("x").type.dtype == m.root["dtype"], "it changes the element type")


def _fits(inner: DType, middle: DType) -> bool:
    return np.can_cast(inner.numpy, middle.numpy, casting="safe")


def _guard_cast_cast(m: Match) -> None:
    inner, middle = m.value("x").type.dtype, m.op("inner")["dtype"]
    m.need(_fits(inner, middle), f"{inner.value} to {middle.value} loses values", m.op("inner"))


def _cast_cast(m: Match) -> Value:
    """cast(cast(x) {t}) {u}   ->   cast(x) {u}

    where every value of x's type has one in t.
    """
    return m.new("nn.cast", [m.value("x")], dtype=m.root["dtype"])


def _square(m: Match) -> Value:
    """x to the 2   ->   x x"""
    return m.new("nn.mul", [m.value("x"), m.value("x")])


_RELU = Op("nn.relu", (), "relu")
_LIMIT = ("nn.relu", "nn.clip")


def _inside(m: Match) -> Value:
    """relu(relu(x)) or abs(relu(x))   ->   relu(x)"""
    return m.root.operands[0]


RULES: tuple[Rule, ...] = (
    Rule("add-zero", Op("nn.add", (_X, _C), commutes=True), _guard_all(0.0), _neutral),
    Rule("sub-zero", Op("nn.sub", (_X, _C)), _guard_all(0.0), _neutral),
    Rule("mul-one", Op("nn.mul", (_X, _C), commutes=True), _guard_all(1.0), _neutral),
    Rule("div-one", Op("nn.div", (_X, _C)), _guard_all(1.0), _neutral),
    Rule("pow-one", Op("nn.pow", (_X, _C)), _guard_all(1.0), _neutral),
    Rule("pow-two", Op("nn.pow", (_X, _C)), _guard_all(2.0), _square),
    Rule("max-to-clip", Op("nn.max", (_X, _C), commutes=True), _guard_scalar, _max),
    Rule("min-to-clip", Op("nn.min", (_X, _C), commutes=True), _guard_scalar, _min),
    Rule("relu-of-relu", Op(("nn.relu", "nn.abs"), (_RELU,)), always, _inside),
    Rule("clip-of-clip", Op(_LIMIT, (Op(_LIMIT, (_X,), "inner"),), "outer"), _guard_limits, _clip_clip),
    Rule("clip-to-relu", Op("nn.clip", (_X,)), _guard_relu, _relu),
    Rule("clip-nothing", Op("nn.clip", (_X,)), _guard_unlimited, _same),
    Rule("neg-of-neg", Op("nn.neg", (Op("nn.neg", (_X,)),)), always, _same),
    Rule("cast-to-same", Op("nn.cast", (_X,)), _guard_cast, _same),
    Rule("cast-of-cast", Op("nn.cast", (Op("nn.cast", (_X,), "inner"),)), _guard_cast_cast, _cast_cast),
)
