"""Transposed convolutions and slopes, whose weights TFLite holds as i8 without zero points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.ir.elementwise import Epilogue
from secateur.ir.graph import Operator, Value
from secateur.ir.ops.quantize import quant_attributes
from secateur.ir.rewrite import Any_, Const, Match, Op, Rule
from secateur.ir.types import DType, Quant

from ..fuse.affine import bias_of, channel_axis
from ..integer.elementwise import slopes_of
from ..integer.parts import byte_quant, known, need_bytes, need_limits, need_result, quantized_result
from .operands import quantized_once
from .weights import Floats, symmetric


def _weights(m: Match, op: Operator, axis: int) -> Value:
    """The weights as i8: as they came, where they came so, else rounded here."""
    value = op.operands[1]
    inner = value.producer.operands[0] if value.producer is not None and value.producer.operands else None
    if value.producer is not None and value.producer.name == "q.dequantize" and inner is not None:
        quant = inner.type.quant
        if (
            inner.type.dtype == DType.I8
            and quant
            and quant.axis in (None, axis)
            and not any(quant.zero_points)
        ):
            return inner
    real = known(value)
    assert real is not None, "the guard wants known weights"
    stored, quant = symmetric(real.astype(np.float64), axis)
    made = m.constant(stored, value.name)
    made.type = replace(made.type, quant=quant)
    return made


def _guard_conv_transpose(m: Match) -> None:
    quant, op = need_result(m), m.op("p")
    need_bytes(m, op.operands[0], "input", op)
    m.need(known(op.operands[1]) is not None, "its weights are computed", op)
    m.need(
        op["groups"] == 1 and op.result.type.rank <= 4, "it has groups, or more than two axes of space", op
    )
    _steps(m, op, quant)


def _steps(m: Match, op: Operator, quant: Quant) -> tuple[Floats, tuple[int, int]]:
    """Bias and limits that the epilogue is; refuses any other."""
    steps: Epilogue = op["epilogue"]
    bias = _known_bias(op)
    taken = int(bias is not None)
    m.need(len(op.operands) == 2 + taken, "its epilogue takes more than a bias", op)
    found = np.zeros(op.result.type.shape[channel_axis(op)]) if bias is None else bias
    return found, need_limits(m, steps[taken:], quant, op)


def _known_bias(op: Operator) -> Floats | None:
    if bias_of(op) is not None:
        return np.asarray(bias_of(op), np.float64)
    steps = op["epilogue"]
    array = known(op.operands[2]) if len(op.operands) > 2 and steps[0].op == "add" else None
    return None if array is None or array.size != op.result.type.shape[1] else array.reshape(-1)


def _conv_transpose(m: Match) -> Value:
    """quantize(conv_transpose(dequantize(x), w) {+ bias, relu})   ->   tflite_conv_transpose(x, w, bias)

    where w is known, of one group: i8 as it came, else rounded with a scale for each filter.
    """
    quant, op = need_result(m), m.op("p")
    x, w = need_bytes(m, op.operands[0], "input", op), _weights(m, op, 1)
    bias, limits = _steps(m, op, quant)
    assert w.type.quant is not None
    assert x.type.quant is not None
    unit = np.float32(x.type.quant.scales[0]) * np.array(w.type.quant.scales, np.float32)
    stored = m.constant(np.rint(bias / unit).astype(np.int32), f"{op.loc}.bias")
    window = {k: op[k] for k in ("strides", "dilations", "pads", "output_padding")}
    return m.new("q.tflite_conv_transpose", [x, w, stored], **window, **quantized_result(quant, limits))


def _guard_prelu(m: Match) -> None:
    quant, op = need_result(m), m.op("p")
    steps = op["epilogue"]
    m.need(len(op.operands) == 2 and steps[0].op == "prelu" and len(steps) == 1, "it is no slope alone", op)
    m.need(op.result.type.rank > 1 and slopes_of(op) is not None, "its slopes are not one a channel", op)
    need_bytes(m, op.operands[0], "operand", op)
    assert quant is not None


def _prelu(m: Match) -> Value:
    """quantize(map(dequantize(x), slopes) {prelu})   ->   tflite_prelu(x, slopes)

    where the slopes are known and one a channel.
    """
    slopes = slopes_of(m.op("p"))
    assert slopes is not None, "the guard wants slopes"
    x = need_bytes(m, m.op("p").operands[0], "operand", m.op("p"))
    return _with_slopes(m, x, slopes, need_result(m))


def _with_slopes(m: Match, x: Value, slopes: Floats, quant: Quant) -> Value:
    stored, scale = symmetric(slopes.astype(np.float64), None)
    made = m.constant(stored, "slopes")
    made.type = replace(made.type, quant=scale)
    return m.new("q.tflite_prelu", [x, made], **quant_attributes(quant))


def _guard_linear_prelu(m: Match) -> None:
    m.need(m.root["limits"] == (0, 255), "its result is limited")
    m.need(byte_quant(m.root.result.type) is not None, "its result is real")


def _linear_prelu(m: Match) -> Value:
    """linear_prelu(x, slopes)   ->   tflite_prelu(x, slopes in i8)"""
    quant = byte_quant(m.root.result.type)
    assert quant is not None, "the guard wants bytes"
    return _with_slopes(m, m.value("x"), m.array("slopes").astype(np.float64), quant)


RULES: tuple[Rule, ...] = (
    Rule(
        "tflite-conv-transpose", quantized_once("nn.conv_transpose"), _guard_conv_transpose, _conv_transpose
    ),
    Rule("tflite-prelu", quantized_once("nn.map"), _guard_prelu, _prelu),
    Rule(
        "tflite-slopes",
        Op("q.linear_prelu", (Any_("x"), Const("slopes"))),
        _guard_linear_prelu,
        _linear_prelu,
    ),
)
