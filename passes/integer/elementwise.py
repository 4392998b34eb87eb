"""Sums, products, averages and requantizations of quantized values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator, Value
from secateur.ir.ops.rules import MAX_TAPS
from secateur.ir.rewrite import Match, Op, Rule

from ..fuse.affine import per_channel
from .parts import REAL_RESULT, known, need_bytes, need_limits, need_result, quantized_result

_BINARY = {Step("add"): "q.linear_add", Step("mul"): "q.linear_mul"}


def _aligned(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (1,) * (rank - len(shape)) + shape


def _guard_binary(m: Match) -> None:
    quant, op = need_result(m), m.op("p")
    steps = op["epilogue"]
    m.need(bool(steps) and steps[0] in _BINARY, "its first step is neither add nor mul", op)
    for value in op.operands:
        need_bytes(m, value, "operand", op)
    need_limits(m, steps[1:], quant, op)


def _binary(m: Match) -> Value:
    """quantize(map(dequantize(a), dequantize(b)) {add or mul, relu or clip})

       ->   linear_add(a, b) {limits}  or  linear_mul

    where a, b and the result are u8 with one scale each, and the map's result has no other use.
    """
    quant, op = need_result(m), m.op("p")
    steps = op["epilogue"]
    a, b = (need_bytes(m, v, "operand", op) for v in op.operands)
    shape = _aligned(b.type.shape, a.type.rank)
    b = b if b.type.shape == shape else m.new("nn.reshape", [b], shape=shape)
    return m.new(_BINARY[steps[0]], [a, b], **quantized_result(quant, need_limits(m, steps[1:], quant, op)))


# Slopes -------------------------------------------------------------------------------------------


def slopes_of(op: Operator) -> NDArray[np.float64] | None:
    """The slope below zero of each channel, where an `nn.map` begins with such constants."""
    array = known(op.operands[1])
    return None if array is None else per_channel(array, op.result.type.shape, 1)


def _guard_prelu(m: Match) -> None:
    quant, op = need_result(m), m.op("p")
    steps = op["epilogue"]
    m.need(steps[:1] == (Step("prelu"),) and len(op.operands) == 2, "it is no slope below zero", op)
    m.need(op.result.type.rank > 1 and slopes_of(op) is not None, "its slopes are not one a channel", op)
    need_bytes(m, op.operands[0], "operand", op)
    need_limits(m, steps[1:], quant, op)


def _prelu(m: Match) -> Value:
    """quantize(map(dequantize(x), slopes) {prelu, relu or clip})   ->   linear_prelu(x, slopes) {limits}

    where x and the result are u8 with one scale each, the slopes are known and one a channel, and the map's
    result has no other use.
    """
    quant, op = need_result(m), m.op("p")
    slopes = slopes_of(op)
    assert slopes is not None, "the guard wants slopes"
    operands = [need_bytes(m, op.operands[0], "operand", op), m.constant(slopes.astype(np.float32), "slopes")]
    return m.new(
        "q.linear_prelu", operands, **quantized_result(quant, need_limits(m, op["epilogue"][1:], quant, op))
    )


# Averages ------------------------------------------------------------------------------------------


def averages_a_window(op: Operator) -> bool:
    """Whether `op` is an average pool, or a mean over all spatial axes of a plane that a window may hold."""
    if op.name == "nn.average_pool":
        return True
    x = op.operands[0].type
    whole = x.rank > 2 and sorted(a % x.rank for a in op["axes"]) == [*range(2, x.rank)]
    return whole and math.prod(x.shape[2:]) <= MAX_TAPS


def _window(m: Match, op: Operator) -> dict[str, Any]:
    """The attributes of the pool that `op`, a pool or a mean over all spatial axes, is."""
    if op.name == "nn.average_pool":
        return dict(op.attributes)
    x, n = op.operands[0].type, op.operands[0].type.rank - 2
    axes = sorted(a % x.rank for a in op["axes"])
    m.need(n > 0 and axes == list(range(2, x.rank)), "its axes are not all the spatial ones", op)
    m.need(averages_a_window(op), f"it is over more than {MAX_TAPS} elements, and stays in float", op)
    ones = (1,) * n
    return {"kernel": x.shape[2:], "strides": ones, "dilations": ones, "pads": (0,) * (2 * n)}


def _pool(m: Match, op: Operator, result: dict[str, object]) -> Value:
    x = need_bytes(m, op.operands[0], "input", op)
    made = m.new("q.linear_average_pool", [x], **_window(m, op), **result)
    shape = op.result.type.shape
    return made if made.type.shape == shape else m.new("nn.reshape", [made], shape=shape)


def _guard_average(m: Match) -> None:
    need_result(m)
    need_bytes(m, m.op("p").operands[0], "input", m.op("p"))
    _window(m, m.op("p"))


def _average(m: Match) -> Value:
    """quantize(p(dequantize(x)))   ->   linear_average_pool(x), reshaped where axes are dropped

    where p is an average pool, or a mean over all spatial axes, whose result has no other use, and x and the
    result are u8 with one scale each.
    """
    return _pool(m, m.op("p"), quantized_result(need_result(m)))


def _guard_real_average(m: Match) -> None:
    need_bytes(m, m.root.operands[0], "input")
    _window(m, m.root)


def _real_average(m: Match) -> Value:
    """p(dequantize(x))   ->   linear_average_pool(x) {dtype = f32}, reshaped where axes are dropped

    where p is an average pool or a mean over all spatial axes, and x is u8 with one scale.
    """
    return _pool(m, m.root, REAL_RESULT)


_AVERAGES = ("nn.average_pool", "nn.reduce_mean")

QUANTIZED: tuple[Rule, ...] = (
    Rule("integer-prelu", Op("q.quantize", (Op("nn.map", (), "p", once=True),)), _guard_prelu, _prelu),
    Rule("integer-binary", Op("q.quantize", (Op("nn.map", (), "p", once=True),)), _guard_binary, _binary),
    Rule("integer-average", Op("q.quantize", (Op(_AVERAGES, (), "p", once=True),)), _guard_average, _average),
)
REAL: tuple[Rule, ...] = (Rule("integer-average-real", Op(_AVERAGES), _guard_real_average, _real_average),)
