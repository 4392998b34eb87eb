"""Operators on stored integers: QLinearConv and its kind, read as dequantize -> operator -> quantize.

The rules of `passes/integer/integer.py` make integer operators of them. ConvInteger and
MatMulInteger are sums of whole numbers as they are, in i32: exact whatever their length, and
their zero points may be computed. ONNX Runtime's own operators
(domain com.microsoft) are among them, since its quantizer writes them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Value
from ..types import DType, Quant, extents
from .dynamic import along, dynamically_quantized
from .node import Handler, Node, NodeError
from .normalize import along as along_axis
from .quantize import HANDLERS as QUANTIZE
from .quantize import STORED, dead_scales, dequantized, live, positive, quant_of, quantized
from .windows import channel_bias, kernel_of, pool_window, spatial_rank, window


def _real(node: Node, at: int, axis: int = 1) -> Value:
    """Input `at`, followed by its scale and zero point, as reals."""
    x = node.input(at)
    quant = quant_of(node, at + 1, x.type.rank, axis)
    return dequantized(node, live(node, x, quant, dead_scales(node, at + 1)), quant)


def _result(node: Node, y: Value, at: int, x: Value) -> Value:
    """`y` stored with the scale at input `at` and the zero point after it; without one, 0 of x's type."""
    quant = quant_of(node, at, y.type.rank, 1)
    zero = node.optional(at + 1)
    dtype = x.type.dtype if zero is None else zero.type.dtype
    if dtype not in STORED:
        raise NodeError(f"quantization to {dtype.value} is not supported")
    return quantized(node, y, dtype, quant)


def _whole_bias(node: Node, bias: Value, x: Quant, w: Quant) -> Value:
    """A bias of i32, counted in steps of input scale x weight scale, as reals."""
    if bias.type.dtype != DType.I32 or bias.type.rank != 1:
        raise NodeError(
            f"bias of shape {extents(bias.type.shape)} and {bias.type.dtype.value} is no list of i32"
        )
    steps = np.array([x.scales[0] * s for s in w.scales]).astype(np.float32)
    dead = dead_scales(node, 1) | dead_scales(node, 4) | (steps == 0)
    quant = Quant(positive(steps), (0,) * len(steps), None if len(steps) == 1 else 0)
    return dequantized(node, live(node, bias, quant, dead), quant)


def _quants(node: Node, axis: int) -> tuple[Quant, Quant]:
    """Those of inputs 0 and 3."""
    x, w = node.input(0), node.input(3)
    found = quant_of(node, 1, x.type.rank, 1), quant_of(node, 4, w.type.rank, axis)
    if found[0].axis is not None:
        raise NodeError("the input has more than one scale")
    return found


def qlinear_conv(node: Node) -> Value:
    x, w, bias = node.input(0), node.input(3), node.optional(8)
    attributes = {**window(node, x, kernel_of(node, w)), "groups": node.integer("group", 1)}
    quants = _quants(node, 0)
    real = None if bias is None else channel_bias(node, _whole_bias(node, bias, *quants), x.type.rank)
    operands = [_real(node, 0), dequantized(node, live(node, w, quants[1], dead_scales(node, 4)), quants[1])]
    return _result(node, node.biased("conv", operands, real, attributes), 6, x)


def qlinear_matmul(node: Node) -> Value:
    a, b = node.input(0), node.input(3)
    operands = [_real(node, 0, a.type.rank - 2), _real(node, 3, b.type.rank - 1)]
    return _result(node, node.emit("matmul", operands), 6, a)


def _times(quant: Quant, factor: float) -> Quant:
    """The quantization of `factor` times as large reals in the same integers."""
    if not factor > 0:
        raise NodeError(f"attribute 'alpha' is {factor:g}, not positive")
    return Quant(tuple(float(np.float32(s * factor)) for s in quant.scales), quant.zero_points, quant.axis)


def q_gemm(node: Node) -> Value:
    """alpha A B + C; C counts in steps of alpha x A's scale x B's. Real where there is no scale."""
    a, b, c = node.input(0), node.input(3), node.optional(6)
    if a.type.rank != 2 or b.type.rank != 2:
        raise NodeError(f"operands {extents(a.type.shape)} and {extents(b.type.shape)} are not matrices")
    transposed = node.flag("transB")
    x, w = _quants(node, 0 if transposed else 1)
    quants = x, _times(w, node.number("alpha", 1.0))
    left = dequantized(node, live(node, a, quants[0], dead_scales(node, 1)), quants[0])
    right = dequantized(node, live(node, b, quants[1], dead_scales(node, 4)), quants[1])
    left = node.emit("transpose", [left], perm=(1, 0)) if node.flag("transA") else left
    right = node.emit("transpose", [right], perm=(1, 0)) if transposed else right
    bias = None if c is None else _whole_bias(node, c, *quants)
    made = node.biased("matmul", [left, right], bias, {})
    return made if node.optional(7) is None else _result(node, made, 7, a)


# Whole numbers -------------------------------------------------------------------------------------


def _whole(node: Node, x: Value, zero: Value | None, axis: int) -> Value:
    """`x` minus its zero point, in i32; a list of zero points lies along `axis`."""
    if x.type.dtype not in (DType.I8, DType.U8):
        raise NodeError(f"an operand is {x.type.dtype.value}, not of 8 bits")
    wide = node.emit("cast", [x], dtype=DType.I32)
    if zero is None:
        return wide
    minus = node.emit("cast", [along(node, zero, x, axis, "zero point")], dtype=DType.I32)
    return node.emit("sub", [wide, minus])


def conv_integer(node: Node) -> Value:
    x, w = node.input(0), node.input(1)
    attributes = {**window(node, x, kernel_of(node, w)), "groups": node.integer("group", 1)}
    operands = [_whole(node, x, node.optional(2), 1), _whole(node, w, node.optional(3), 0)]
    return node.emit("conv", operands, **attributes)


def _product(node: Node, a: Value, a_zero: Value | None, b: Value, b_zero: Value | None) -> Value:
    """(a - a's zero point) (b - b's) in i32; zero points are one, or one for each row of a, column of b."""
    left, right = _whole(node, a, a_zero, a.type.rank - 2), _whole(node, b, b_zero, b.type.rank - 1)
    return node.emit("matmul", [left, right])


def matmul_integer(node: Node) -> Value:
    return _product(node, node.input(0), node.optional(2), node.input(1), node.optional(3))


def _scaled(node: Node, sums: Value, a_scale: Value, b_scale: Value, bias: Value | None) -> Value:
    """Sums of products of whole numbers as reals: times the scales, one or one for each column, plus bias."""
    scales = [node.emit("reshape", [s], shape=()) if s.type.elements == 1 else s for s in (a_scale, b_scale)]
    real = node.emit("cast", [sums], dtype=DType.F32)
    scaled = node.emit("mul", [real, node.emit("mul", scales)])
    return scaled if bias is None else node.emit("add", [scaled, bias])


def dynamic_quantize_matmul(node: Node) -> Value:
    """Inputs: A of reals, B of bytes, B's scale and zero point, bias."""
    a, scale, zero = dynamically_quantized(node, node.input(0))
    sums = _product(node, a, zero, node.input(1), node.optional(3))
    return _scaled(node, sums, scale, node.input(2), node.optional(4))


def matmul_integer_to_float(node: Node) -> Value:
    """Inputs: A, B, their scales, their zero points, bias."""
    sums = _product(node, node.input(0), node.optional(4), node.input(1), node.optional(5))
    return _scaled(node, sums, node.input(2), node.input(3), node.optional(6))


# ONNX Runtime's own ----------------------------------------------------------------------------------


def _binary(name: str) -> Handler:
    def handler(node: Node) -> Value:
        return _result(node, node.emit(name, [_real(node, 0), _real(node, 3)]), 6, node.input(0))

    return handler


def _unary(compute: Callable[[Node, Value], Value]) -> Handler:
    def handler(node: Node) -> Value:
        return _result(node, compute(node, _real(node, 0)), 3, node.input(0))

    return handler


def _average_pool(node: Node, x: Value) -> Value:
    counted = node.flag("count_include_pad")
    return node.emit("average_pool", [x], **pool_window(node, x), count_include_pad=counted)


def _global_average_pool(node: Node, x: Value) -> Value:
    return node.emit("reduce_mean", [x], axes=tuple(range(2, 2 + spatial_rank(x))), keepdims=True)


def _softmax(node: Node, x: Value) -> Value:
    """By the opset that the operator of which it was made had."""
    axis, opset = node.integer("axis", -1), node.integer("opset")
    return along_axis(node, x, axis, opset, lambda x, axis: node.emit("softmax", [x], axis=axis))


def qlinear_where(node: Node) -> Value:
    """Inputs: condition, then x and y with scale and zero point each, then those of the result."""
    chosen = node.emit("where", [node.input(0), _real(node, 1), _real(node, 4)])
    return _result(node, chosen, 7, node.input(1))


def qlinear_concat(node: Node) -> Value:
    """Inputs: scale and zero point of the result, then tensor, scale and zero point of each part."""
    count = len(node.inputs) - 2
    if count < 3 or count % 3:
        raise NodeError(f"{len(node.inputs)} inputs are not 2 and 3 for each part")
    parts = [_real(node, at) for at in range(2, len(node.inputs), 3)]
    return _result(node, node.emit("concat", parts, axis=node.integer("axis")), 0, node.input(2))


HANDLERS: dict[str, Handler] = {
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
}

MICROSOFT: dict[str, Handler] = {
    "QuantizeLinear": QUANTIZE["QuantizeLinear"],
    "DequantizeLinear": QUANTIZE["DequantizeLinear"],
    "DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "QGemm": q_gemm,
    "QLinearAdd": _binary("add"),
    "QLinearMul": _binary("mul"),
    "QLinearConcat": qlinear_concat,
    "QLinearAveragePool": _unary(_average_pool),
    "QLinearGlobalAveragePool": _unary(_global_average_pool),
    "QLinearLeakyRelu": _unary(
        lambda node, x: node.emit("leaky_relu", [x], alpha=node.number("alpha", 0.01))
    ),
    "QLinearSigmoid": _unary(lambda node, x: node.emit("sigmoid", [x])),
    "QLinearSoftmax": _unary(_softmax),
    "QLinearWhere": qlinear_where,
}
"""Quantized operators of the domain com.microsoft."""
