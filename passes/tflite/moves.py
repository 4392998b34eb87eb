"""What resizes, picks, joins and reorders bytes, as TFLite does it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from secateur.ir.graph import Operator, Value
from secateur.ir.rewrite import Any_, Const, Match, Op, Rule
from secateur.ir.types import Quant

from ..integer.parts import known, need_bytes, need_result
from .operands import brought, need_operand, quantized_once

COORDINATES = {
    "align_corners": "align_corners",
    "half_pixel": "half_pixel",
    "pytorch_half_pixel": "half_pixel",
}


def resized(op: Operator) -> dict[str, Any] | None:
    """The attributes of TFLite's bilinear resize that `op` is, or None."""
    x, y = op.operands[0].type, op.result.type
    images = x.rank == 4 and x.shape[:2] == y.shape[:2]
    plain = op["mode"] == "linear" and not op["antialias"] and not op["exclude_outside"]
    single = op["coordinates"] == "pytorch_half_pixel" and 1 in y.shape[2:]
    if not (images and plain) or op["coordinates"] not in (*COORDINATES, "asymmetric") or single:
        return None
    shares = zip(op["scales"][2:], x.shape[2:], y.shape[2:], strict=True)
    if not all(abs(s * a - b) < 1e-3 * a for s, a, b in shares):
        return None
    way = COORDINATES.get(op["coordinates"])
    return {"shape": y.shape[2:], **({way: True} if way else {})}


def _guard_resize(m: Match) -> None:
    need_result(m)
    op = m.op("p")
    need_bytes(m, op.operands[0], "input", op)
    m.need(resized(op) is not None, "TFLite resizes by no such coordinates, or other axes", op)


def _resize(m: Match) -> Value:
    """quantize(resize(dequantize(x)) {linear})   ->   tflite_resize(x), requantized

    where height and width are resized by coordinates that TFLite has, and scales are quotients of extents.
    """
    op = m.op("p")
    attributes = resized(op)
    assert attributes is not None, "the guard wants them"
    made = m.new("q.tflite_resize", [need_bytes(m, op.operands[0], "input", op)], **attributes)
    return brought(m, made, need_result(m))


def _guard_argmax(m: Match) -> None:
    need_bytes(m, m.root.operands[0], "input")


def _argmax(m: Match) -> Value:
    """argmax(dequantize(x))   ->   argmax(x)

    Exact: dequantizing is monotonic.
    """
    return m.new("nn.argmax", [need_bytes(m, m.root.operands[0], "input")], **m.root.attributes)


def _guard_concat(m: Match) -> None:
    need_result(m)
    for value in m.op("p").operands:
        need_operand(m, value, m.op("p"))


def _concat(m: Match) -> Value:
    """quantize(concat(dequantize(a), dequantize(b)))   ->   concat(a requantized, b requantized)

    where scales differ; a known operand is quantized as the result.
    """
    quant, op = need_result(m), m.op("p")
    parts = [_in_quant(m, v, op, quant) for v in op.operands]
    return m.new("nn.concat", parts, axis=op["axis"])


def _in_quant(m: Match, value: Value, op: Operator, quant: Quant) -> Value:
    array = known(value)
    if array is None:
        return brought(m, need_bytes(m, value, "operand", op), quant)
    steps = np.rint(array / np.float32(quant.scales[0])) + quant.zero_points[0]
    made = m.constant(np.clip(steps, 0, 255).astype(np.uint8), value.name)
    made.type = replace(made.type, quant=quant)
    return made


def _guard_shuffle(m: Match) -> None:
    m.need(m.root["mode"] == "CRD", "it takes channels in TFLite's order")
    m.need(m.op("conv")["groups"] == 1, "its convolution has groups", m.op("conv"))


def _shuffle(m: Match) -> Value:
    """depth_to_space(conv(x, w, b)) {CRD}   ->   depth_to_space(conv(x, w', b')) {DCR}

    where the convolution has one group, constant weights and no other reader: filters are reordered.
    """
    op, block = m.op("conv"), m.root["block"] ** 2
    order = np.arange(op.result.type.shape[1]).reshape(-1, block).T.reshape(-1)
    weights = m.constant(np.ascontiguousarray(m.array("w")[order]), m.value("w").name)
    quant = m.value("w").type.quant
    if quant is not None and quant.axis is not None:
        quant = replace(quant, scales=tuple(quant.scales[i] for i in order))
    weights.type = replace(weights.type, quant=quant)
    bias = m.constant(m.array("b")[order], m.value("b").name)
    made = m.new(op.name, [m.value("x"), weights, bias], **op.attributes)
    return m.new("nn.depth_to_space", [made], block=m.root["block"])


_CONV = Op("q.linear_conv", (Any_("x"), Const("w"), Const("b")), "conv", once=True)

RULES: tuple[Rule, ...] = (
    Rule("tflite-resize", quantized_once("nn.resize"), _guard_resize, _resize),
    Rule("tflite-concat", quantized_once("nn.concat"), _guard_concat, _concat),
    Rule("tflite-argmax", Op("nn.argmax"), _guard_argmax, _argmax),
    Rule("tflite-shuffle", Op("nn.depth_to_space", (_CONV,)), _guard_shuffle, _shuffle),
)
