"""Activations that exporters write out in several operators, brought back to one."""

from __future__ import annotations

import math

from secateur.ir.graph import Value
from secateur.ir.rewrite import Any_, Const, Match, Op, Rule, always

_X = Any_("x")


def _scalar(value: float) -> Const:
    return Const(scalar=value)


def _mul(a: Any_ | Op, b: Any_ | Op, once: bool = True) -> Op:
    return Op("nn.mul", (a, b), once=once, commutes=True)


def _add(a: Any_ | Op, b: Any_ | Op) -> Op:
    return Op("nn.add", (a, b), once=True, commutes=True)


def _need_clip(m: Match, low: float, high: float) -> None:
    clip = m.op("clip")
    m.need(clip["min"] == low and clip["max"] == high, f"limits are [{clip['min']:g}, {clip['max']:g}]", clip)


def _guard_relu6(m: Match) -> None:
    _need_clip(m, 0.0, 6.0)


def _guard_sigmoid(m: Match) -> None:
    inner = m.op("inner")
    fits = math.isclose(inner["alpha"], 1 / 6, rel_tol=1e-5) and inner["beta"] == 0.5
    m.need(fits, f"alpha is {inner['alpha']:g} and beta {inner['beta']:g}, not 1/6 and 1/2", inner)


def _hard_swish(m: Match) -> Value:
    """(x clip(x + 3, 0, 6)) / 6, or x hard_sigmoid(x) {1/6, 1/2}   ->   hard_swish(x)

    where the intermediate results have no other use. Rounding differs.
    """
    return m.new("nn.hard_swish", [m.value("x")])


def _hard_sigmoid(m: Match) -> Value:
    """clip(x + 3, 0, 6) / 6   ->   hard_sigmoid(x) {1/6, 1/2}

    where the intermediate results have no other use. Rounding differs.
    """
    return m.new("nn.hard_sigmoid", [m.value("x")], alpha=1 / 6, beta=0.5)


def _gelu(m: Match) -> Value:
    """0.5 x (1 + erf(x / sqrt 2)), in any order of factors   ->   gelu(x)

    where the intermediate results have no other use. Rounding differs.
    """
    return m.new("nn.gelu", [m.value("x")])


def _mish(m: Match) -> Value:
    """x tanh(softplus(x))   ->   mish(x)

    where the intermediate results have no other use. Rounding differs.
    """
    return m.new("nn.mish", [m.value("x")])


def _silu(m: Match) -> Value:
    """x sigmoid(x)   ->   silu(x)

    where the sigmoid has no other use.
    """
    return m.new("nn.silu", [m.value("x")])


_CLIP = Op("nn.clip", (_add(_X, _scalar(3.0)),), "clip", once=True)
_ERF = tuple(
    _add(Op("nn.erf", (inner,), once=True), _scalar(1.0))
    for inner in (Op("nn.div", (_X, _scalar(math.sqrt(2))), once=True), _mul(_X, _scalar(math.sqrt(0.5))))
)
_HALF = _scalar(0.5)

RULES: tuple[Rule, ...] = (
    Rule("hard-sigmoid", Op("nn.div", (_CLIP, _scalar(6.0))), _guard_relu6, _hard_sigmoid),
    Rule("hard-sigmoid", _mul(_CLIP, _scalar(1 / 6), once=False), _guard_relu6, _hard_sigmoid),
    Rule("hard-swish", Op("nn.div", (_mul(_X, _CLIP), _scalar(6.0))), _guard_relu6, _hard_swish),
    Rule("hard-swish", _mul(_mul(_X, _CLIP), _scalar(1 / 6), once=False), _guard_relu6, _hard_swish),
    Rule(
        "hard-swish",
        _mul(_X, Op("nn.hard_sigmoid", (_X,), "inner", once=True), once=False),
        _guard_sigmoid,
        _hard_swish,
    ),
    *(Rule("gelu", _mul(_mul(_X, erf), _HALF, once=False), always, _gelu) for erf in _ERF),
    *(Rule("gelu", _mul(_mul(_X, _HALF), erf, once=False), always, _gelu) for erf in _ERF),
    *(Rule("gelu", _mul(_X, _mul(_HALF, erf), once=False), always, _gelu) for erf in _ERF),
    Rule(
        "mish",
        _mul(_X, Op("nn.tanh", (Op("nn.softplus", (_X,), once=True),), once=True), once=False),
        always,
        _mish,
    ),
    Rule("silu", _mul(_X, Op("nn.sigmoid", (_X,), once=True), once=False), always, _silu),
)
