"""What TFLite alone has on bytes, made of operators on floats between dequantize and quantize.

    quantize(softmax(dequantize(x)))   ->   requantize(tflite_softmax(x))

Operators whose result has a quantization of its own are followed by a requantization to what is wanted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.elementwise import Epilogue
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.ops.quantize import TFLITE, quant_attributes
from secateur.ir.ops.tflite import UNIT
from secateur.ir.reference.byte_functions import FIXED
from secateur.ir.rewrite import Any_, Const, Match, Op, Rule
from secateur.ir.types import DType, Quant

from ..fuse.affine import bias_of, channel_axis
from ..integer.elementwise import slopes_of
from ..integer.parts import (
    byte_quant,
    dequantized,
    known,
    need_bytes,
    need_limits,
    need_result,
    quantized_result,
)
from ..quantize.calibration.ranges import quant_of
from .functions import tabled

Floats = NDArray[np.float64]
LARGEST = 127


def brought(m: Match, value: Value, quant: Quant) -> Value:
    """A u8 value in another quantization."""
    if value.type.quant == quant:
        return value
    made = tabled(value, "requantize", quant, m.loc)
    m.created += made
    return made[-1].result


def _bytes_of(m: Match, value: Value, at: Operator) -> Value:
    """The u8 value behind a dequantize; a known value is quantized by its own range."""
    found, array = dequantized(value), known(value)
    if found is None and array is not None and array.size:
        return _stored(m, array, value.name)
    return need_bytes(m, value, "operand", at)


def _stored(m: Match, array: NDArray[Any], name: str) -> Value:
    m.need(bool(np.isfinite(array).all()), "a constant is not finite")
    quant = quant_of(float(array.min()), float(array.max()))
    steps = np.rint(array / np.float32(quant.scales[0])) + quant.zero_points[0]
    made = m.constant(np.clip(steps, 0, 255).astype(np.uint8), f"{name}_quantized")
    made.type = replace(made.type, quant=quant)
    return made


def _need_operand(m: Match, value: Value, at: Operator) -> None:
    found = dequantized(value) is not None or known(value) is not None
    m.need(found, f"the operand %{value.name} is neither dequantized from u8 with one scale nor known", at)


# Softmax, and functions that have one scale ---------------------------------------------------------


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


# Two operands ---------------------------------------------------------------------------------------

SUMS = {"add": "q.linear_add", "mul": "q.linear_mul", "sub": "q.tflite_sub", "rsub": "q.tflite_sub"}
EXTREMES = {"max": "q.tflite_maximum", "min": "q.tflite_minimum"}


def _guard_pair(m: Match) -> None:
    quant, op = need_result(m), m.op("p")
    steps: Epilogue = op["epilogue"]
    m.need(bool(steps) and steps[0].op in SUMS | EXTREMES, "it is no sum, product or extreme of two", op)
    for value in op.operands[:2]:
        _need_operand(m, value, op)
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
    a, b = (_aligned(m, _bytes_of(m, v, op), op.result.type.rank) for v in op.operands)
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
        _need_operand(m, value, op)


def _matmul(m: Match) -> Value:
    """quantize(matmul(dequantize(a), dequantize(b)))   ->   tflite_matmul(a, b)

    where the ranks are equal; either operand may be known.
    """
    op = m.op("p")
    operands = [_bytes_of(m, v, op) for v in op.operands]
    return m.new("q.tflite_matmul", operands, **quant_attributes(need_result(m)))


# Weights --------------------------------------------------------------------------------------------


def symmetric(real: Floats, axis: int | None) -> tuple[NDArray[np.int8], Quant]:
    """i8 between -127 and 127 without zero points, with one scale or one along `axis`."""
    others = None if axis is None else tuple(i for i in range(real.ndim) if i != axis)
    largest = np.abs(real).max(axis=others, initial=0.0, keepdims=axis is not None)
    scales = np.where(largest > 0, largest / LARGEST, 1.0).astype(np.float32).astype(np.float64)
    stored = np.clip(np.rint(real / scales), -LARGEST, LARGEST).astype(np.int8)
    numbers = tuple(map(float, scales.reshape(-1)))
    return stored, Quant(numbers, (0,) * len(numbers), axis)


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


# Resize, and what picks ------------------------------------------------------------------------------

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
        _need_operand(m, value, m.op("p"))


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


# Pixels ---------------------------------------------------------------------------------------------


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


def _once(name: str) -> Op:
    return Op("q.quantize", (Op(name, (), "p", once=True),))


RULES: tuple[Rule, ...] = (
    Rule("tflite-softmax", _once("nn.softmax"), _guard_softmax, _softmax),
    Rule("tflite-pair", _once("nn.map"), _guard_pair, _pair),
    Rule("tflite-matmul", _once("nn.matmul"), _guard_matmul, _matmul),
    Rule("tflite-conv-transpose", _once("nn.conv_transpose"), _guard_conv_transpose, _conv_transpose),
    Rule("tflite-prelu", _once("nn.map"), _guard_prelu, _prelu),
    Rule("tflite-resize", _once("nn.resize"), _guard_resize, _resize),
    Rule("tflite-concat", _once("nn.concat"), _guard_concat, _concat),
    Rule("tflite-argmax", Op("nn.argmax"), _guard_argmax, _argmax),
    Rule(
        "tflite-slopes",
        Op("q.linear_prelu", (Any_("x"), Const("slopes"))),
        _guard_linear_prelu,
        _linear_prelu,
    ),
    Rule("tflite-shuffle", Op("nn.depth_to_space", (_CONV,)), _guard_shuffle, _shuffle),
    Rule("tflite-real-softmax", Op("nn.softmax"), _guard_real_softmax, _real_softmax),
    Rule("tflite-real-function", Op("nn.map"), _guard_real_function, _real_function),
)
