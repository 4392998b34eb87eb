"""Softmax and functions whose result has one quantization in TFLite.

quantize(softmax(dequantize(x)))   ->   requantize(tflite_softmax(x))
"""

from __future__ import annotations

from secateur.ir.graph import Operator, Value
from secateur.ir.ops.tflite import UNIT
from secateur.ir.reference.byte_functions import FIXED
from secateur.ir.rewrite import Match, Op, Rule
from secateur.ir.types import DType, Quant

from ..integer.parts import need_bytes, need_result
from .functions import tabled
from .operands import brought, quantized_once


def _guard_softmax(m: Match) -> None:
    need_result(m)
    need_bytes(m, m.op("p").operands[0], "input", m.op("p"))


def _softmax(m: Match) -> Value:
    """quantize(softmax(dequantize(x)))   ->   tflite_softmax(x), requantized"""
    op = m.op("p")
    made = m.new("q.tflite_softmax", [need_bytes(m, op.operands[0], "input", op)], axis=op["axis"])
    return brought(m, made, need_result(m))


def _guard_real_softmax(m: Match) -> None:
    m.need(m.root.result.type.dtype == DType.F32, "its result is no f32")
    need_bytes(m, m.root.operands[0], "input")


def _real_softmax(m: Match) -> Value:
    """softmax(dequantize(x))   ->   dequantize(tflite_softmax(x))

    where nothing quantizes the result: TFLite's has one scale.
    """
    x = need_bytes(m, m.root.operands[0], "input")
    return m.new("q.dequantize", [m.new("q.tflite_softmax", [x], axis=m.root["axis"])])


def fixed_quant(op: Operator) -> Quant | None:
    """The only quantization that TFLite gives the result of an operator on floats; None where it is free."""
    if op.name == "nn.softmax":
        return UNIT
    if op.name != "nn.map" or len(op["epilogue"]) != 1:
        return None
    return FIXED.get({"sigmoid": "logistic"}.get(op["epilogue"][0].op, op["epilogue"][0].op))


def _guard_real_function(m: Match) -> None:
    m.need(fixed_quant(m.root) is not None, "it is no function of one scale in TFLite")
    need_bytes(m, m.root.operands[0], "input")
    m.need(all(u.name != "q.quantize" for u in m.root.result.users), "its result is quantized")


def _real_function(m: Match) -> Value:
    """map(dequantize(x)) {sigmoid}   ->   dequantize(table(x) {logistic})

    where nothing quantizes the result; tanh likewise.
    """
    quant = fixed_quant(m.root)
    assert quant is not None, "the guard wants one"
    function = {"sigmoid": "logistic"}.get(m.root["epilogue"][0].op, m.root["epilogue"][0].op)
    made = tabled(need_bytes(m, m.root.operands[0], "input"), function, quant, m.loc)
    m.created += made
    return m.new("q.dequantize", [made[-1].result])


RULES: tuple[Rule, ...] = (
    Rule("tflite-softmax", quantized_once("nn.softmax"), _guard_softmax, _softmax),
    Rule("tflite-real-softmax", Op("nn.softmax"), _guard_real_softmax, _real_softmax),
    Rule("tflite-real-function", Op("nn.map"), _guard_real_function, _real_function),
)
