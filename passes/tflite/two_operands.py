"""Sums, products, extremes and matrix products of two values, as TFLite computes them on bytes."""

from __future__ import annotations

from dataclasses import replace

from secateur.ir.elementwise import Epilogue
from secateur.ir.graph import Value, constant_of
from secateur.ir.ops.quantize import TFLITE, quant_attributes
from secateur.ir.rewrite import Match, Rule

from ..integer.parts import need_limits, need_result, quantized_result
from .operands import brought, bytes_of, need_operand, quantized_once

SUMS = {"add": "q.linear_add", "mul": "q.linear_mul", "sub": "q.tflite_sub", "rsub": "q.tflite_sub"}
EXTREMES = {"max": "q.tflite_maximum", "min": "q.tflite_minimum"}


def _guard_pair(m: Match) -> None:
    quant, op = need_result(m), m.op("p")
    steps: Epilogue = op["epilogue"]
    m.need(bool(steps) and steps[0].op in SUMS | EXTREMES, "it is no sum, product or extreme of two", op)
    for value in op.operands[:2]:
        need_operand(m, value, op)
    m.need(len(op.operands) == 2, "it takes more than two operands", op)
    need_limits(m, steps[1:], quant, op)
    m.need(steps[0].op in SUMS or len(steps) == 1, "steps follow an extreme", op)


def _pair(m: Match) -> Value:
    """quantize(map(dequantize(a), dequantize(b)) {sub, relu})   ->   tflite_sub(a, b) {limits}

    likewise sums, products, and extremes, whose operands are requantized to the result's scale; either
    operand may be known.
    """
    quant, op = need_result(m), m.op("p")
    step = op["epilogue"][0].op
    a, b = (_aligned(m, bytes_of(m, v, op), op.result.type.rank) for v in op.operands)
    if step in EXTREMES:
        return m.new(EXTREMES[step], [brought(m, a, quant), brought(m, b, quant)])
    a, b = (b, a) if step == "rsub" else (a, b)
    result = quantized_result(quant, need_limits(m, op["epilogue"][1:], quant, op))
    more = {"rounding": TFLITE} if step in ("add", "mul") else {}
    return m.new(SUMS[step], [a, b], **result, **more)


def _aligned(m: Match, value: Value, rank: int) -> Value:
    """The value with axes of 1 before its own."""
    shape = (1,) * (rank - value.type.rank) + value.type.shape
    if value.type.shape == shape:
        return value
    array = constant_of(value)
    if array is None:
        return m.new("nn.reshape", [value], shape=shape)
    made = m.constant(array.reshape(shape), value.name)
    made.type = replace(made.type, quant=value.type.quant)
    return made


def _guard_matmul(m: Match) -> None:
    need_result(m)
    op = m.op("p")
    m.need(not op["epilogue"], "steps follow its products", op)
    m.need(op.operands[0].type.rank == op.operands[1].type.rank > 1, "its operands' ranks differ", op)
    for value in op.operands:
        need_operand(m, value, op)


def _matmul(m: Match) -> Value:
    """quantize(matmul(dequantize(a), dequantize(b)))   ->   tflite_matmul(a, b)

    where the ranks are equal; either operand may be known.
    """
    op = m.op("p")
    operands = [bytes_of(m, v, op) for v in op.operands]
    return m.new("q.tflite_matmul", operands, **quant_attributes(need_result(m)))


RULES: tuple[Rule, ...] = (
    Rule("tflite-pair", quantized_once("nn.map"), _guard_pair, _pair),
    Rule("tflite-matmul", quantized_once("nn.matmul"), _guard_matmul, _matmul),
)
