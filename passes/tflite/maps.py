"""Functions of two values as maps, quotients as products, and slopes as one number a channel."""

from __future__ import annotations

import numpy as np

from secateur.ir.elementwise import Epilogue, Step
from secateur.ir.graph import Operator, Value
from secateur.ir.rewrite import Match, Op, Rule

from ..integer.parts import known
from .floats import need_floats

STEPS = {"add": "add", "mul": "mul", "sub": "rsub", "div": "rdiv", "max": "max", "min": "min"}
"""Functions of two values, and what they are with the operands in the other order."""


def _guard_map(m: Match) -> None:
    need_floats(m)
    shapes = [v.type.shape for v in m.root.operands]
    m.need(m.root.result.type.shape in shapes, "both its operands broadcast")


def _map(m: Match) -> Value:
    """add(a, b)   ->   map(a, b) {add}, or map(b, a) {add}

    where one of them has the result's shape; likewise other functions of two values.
    """
    a, b = m.root.operands
    name, swaps = m.root.name[3:], a.type.shape != m.root.result.type.shape
    first, second = (b, a) if swaps or (known(a) is not None and b.type.shape == a.type.shape) else (a, b)
    step = STEPS[name] if first is b else name
    return m.new("nn.map", [first, second], epilogue=(Step(step),))


def _guard_quotient(m: Match) -> None:
    need_floats(m)
    steps = m.root["epilogue"]
    divides = bool(steps) and steps[0].op in ("div", "rdiv")
    m.need(divides and _divisor(m.root) is not None, "it divides by nothing that is computed")


def _divisor(op: Operator) -> Value | None:
    """What a map divides by first, where that is computed."""
    found = op.operands[1] if op["epilogue"][0].op == "div" else op.operands[0]
    return None if known(op.operands[1]) is not None else found


def _quotient(m: Match) -> Value:
    """map(a, b, ...) {div, steps}   ->   map(a, map(b, 1) {rdiv}, ...) {mul, steps}

    where b is computed: TFLite divides no bytes, but looks the inverse of one up; likewise rdiv.
    """
    op, divisor = m.root, _divisor(m.root)
    assert divisor is not None, "the guard wants one"
    one = m.constant(np.ones((1,) * divisor.type.rank, np.float32), "one")
    inverse = m.new("nn.map", [divisor, one], epilogue=(Step("rdiv"),))
    operands = [inverse if v is divisor else v for v in op.operands[:2]] + op.operands[2:]
    return m.new("nn.map", operands, epilogue=(Step("mul"), *op["epilogue"][1:]))


def _guard_leaky(m: Match) -> None:
    need_floats(m)
    steps: Epilogue = m.root["epilogue"]
    m.need(bool(steps) and steps[0].op == "leaky_relu", "its first step has no slope")
    m.need(m.root.result.type.rank > 1, "it has no channels")


def _leaky(m: Match) -> Value:
    """map(x) {leaky_relu alpha, steps}   ->   map(x, alpha for each channel) {prelu, steps}"""
    op, shape = m.root, m.root.result.type.shape
    alpha = np.full((1, shape[1], *[1] * (len(shape) - 2)), op["epilogue"][0].params[0], np.float32)
    operands = [op.operands[0], m.constant(alpha, f"{op.loc}.alpha"), *op.operands[1:]]
    return m.new("nn.map", operands, epilogue=(Step("prelu"), *op["epilogue"][1:]))


RULES: tuple[Rule, ...] = (
    Rule("tflite-map", Op(tuple(f"nn.{name}" for name in STEPS)), _guard_map, _map),
    Rule("tflite-quotient", Op("nn.map"), _guard_quotient, _quotient),
    Rule("tflite-leaky", Op("nn.map"), _guard_leaky, _leaky),
)
