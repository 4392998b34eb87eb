"""Operators on quantized tensors, written as DequantizeLinear, the operator, QuantizeLinear."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ..errors import ModelError
from ..graph import Graph, Operator, constant_of
from ..interpreter import run
from ..ops.linear import one_quant
from ..ops.quantize import quant_attributes
from ..registry import create
from ..types import DType, Quant, TensorType
from .compute import pool
from .writer import Array, Write, Writer, onnx_type, plain


def _scale_and_zero(w: Writer, quant: Quant, dtype: DType) -> tuple[list[str], dict[str, int]]:
    scale, zero = np.array(quant.scales, np.float32), np.array(quant.zero_points, dtype.numpy)
    if quant.axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    axis = {} if quant.axis is None else {"axis": quant.axis}
    if dtype != DType.I32:
        return [w.constant(scale, "scale"), w.constant(zero, "zero_point")], axis
    if zero.any():
        raise ModelError("ONNX has no zero point other than 0 for quantized i32")
    return [w.constant(scale, "scale")], axis


def _quantized(w: Writer, op: Operator, x: str, result: str) -> None:
    """The node that stores f32 tensor `x` as the operator's result."""
    type = op.result.type
    if type.dtype == DType.I32 or type.quant is None:
        raise ModelError(f"{op!r}: ONNX cannot quantize to {type.dtype.value}")
    inputs, axis = _scale_and_zero(w, type.quant, type.dtype)
    w.node("QuantizeLinear", [x, *inputs], op, result, **axis)


def _real(w: Writer, op: Operator, x: str, type: TensorType, result: str = "") -> str:
    """The node that makes f32 of tensor `x`, whose type is `type`."""
    if type.quant is None:
        raise ModelError(f"{op!r}: the input is not quantized")
    inputs, axis = _scale_and_zero(w, type.quant, type.dtype)
    return w.node("DequantizeLinear", [x, *inputs], op, result, **axis)


def _quantize(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    if op.operands[0].type.dtype != DType.F32:
        operands = [w.node("Cast", operands, op, to=TensorProto.FLOAT)]
    _quantized(w, op, operands[0], result)


def _dequantize(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    dtype = op.result.type.dtype
    made = _real(w, op, operands[0], op.operands[0].type, result if dtype == DType.F32 else "")
    if dtype != DType.F32:
        w.node("Cast", [made], op, result, to=onnx_type(dtype))


# Tables --------------------------------------------------------------------------------------------

_NODES = {"silu": "", "relu": "Relu", "sigmoid": "Sigmoid", "hard_swish": "HardSwish", "tanh": "Tanh"}


def _values(op: Operator, function: str) -> Array:
    """The table of `function` between the quantizations of operand and result; of nothing where empty."""
    x, result = op.operands[0].type, op.result.type
    assert x.quant is not None
    assert result.quant is not None
    graph = Graph("table")
    stored = graph.add_input(TensorType((256,), x.dtype, quant=x.quant), "x")
    value = graph.append(create("q.dequantize", [stored])).result
    value = graph.append(create(f"nn.{function}", [value])).result if function else value
    attributes = {"dtype": result.dtype, **quant_attributes(result.quant)}
    graph.set_outputs([graph.append(create("q.quantize", [value], attributes)).result], ["y"])
    return run(graph, {"x": np.arange(256, dtype=np.uint8).view(x.dtype.numpy)})["y"]


def _function(op: Operator) -> str | None:
    """The function whose table it is: empty for none but the quantizations; None where it is not known."""
    table, quants = constant_of(op.operands[1]), [v.type.quant for v in (op.operands[0], op.result)]
    if table is None or any(quant is None or quant.axis is not None for quant in quants):
        return None
    return next((f for f in ("", *_NODES) if np.array_equal(_values(op, f), table)), None)


def _table(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    """The function where it is a known one; else Gather, whose negative indices count from the end."""
    function = _function(op)
    if function is None:
        index = w.node("Cast", operands[:1], op, to=TensorProto.INT32)
        w.node("Gather", [operands[1], index], op, result, axis=0)
        return
    real = _real(w, op, operands[0], op.operands[0].type)
    if function == "silu":
        real = w.node("Mul", [real, w.node("Sigmoid", [real], op)], op)
    elif function:
        real = w.node(_NODES[function], [real], op)
    _quantized(w, op, real, result)


# Integer operators ---------------------------------------------------------------------------------


def _limited(w: Writer, op: Operator, x: str) -> str:
    """`x` limited to the reals that become the operator's limits."""
    (low, high), (scale, zero) = op["limits"], one_quant(op.result.type)
    if (low, high) == (0, 255):
        return x
    if (low, high) == (zero, 255):
        return w.node("Relu", [x], op)
    bounds = [w.constant(np.array((b - zero) * scale, np.float32)) for b in (low, high)]
    return w.node("Clip", [x, *bounds], op)


def _stored(w: Writer, op: Operator, x: str, result: str) -> None:
    """What ends an integer operator: limits and QuantizeLinear, or nothing where the result is real."""
    if op.result.type.quant is None:
        w.node("Identity", [x], op, result)
    else:
        _quantized(w, op, _limited(w, op, x), result)


def _bias(w: Writer, op: Operator, bias: str) -> str:
    """The bias as reals: it counts in steps of input scale x weight scale."""
    weights = op.operands[1].type.quant
    assert weights is not None
    scale = one_quant(op.operands[0].type)[0]
    scales = tuple(float(np.float32(scale * np.float32(s))) for s in weights.scales)
    quant = Quant(scales, (0,) * len(scales), None if weights.axis is None else 0)
    return _real(w, op, bias, TensorType(op.operands[2].type.shape, DType.I32, quant=quant))


def _reals(w: Writer, op: Operator, operands: list[str]) -> list[str]:
    return [_real(w, op, x, v.type) for x, v in zip(operands, op.operands, strict=False)]


def _linear_conv(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    inputs = [*_reals(w, op, operands[:2]), _bias(w, op, operands[2])]
    window = {name: op[name] for name in ("strides", "pads", "dilations")}
    made = w.node("Conv", inputs, op, **window, group=op["groups"])
    for x, value in zip(operands[3:], op.operands[3:], strict=True):
        made = w.node("Add", [made, _real(w, op, x, value.type)], op)
    _stored(w, op, made, result)


def _linear_matmul(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    inputs = [*_reals(w, op, operands[:2]), _bias(w, op, operands[2])]
    _stored(w, op, w.node("Gemm", inputs, op), result)


def _linear_binary(type: str) -> Write:
    def write(w: Writer, op: Operator, operands: list[str], result: str) -> None:
        _stored(w, op, w.node(type, _reals(w, op, operands), op), result)

    return write


def _linear_prelu(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    """Slopes lie along the channels of an image: one axis for each that follows."""
    shape = np.array([-1, *[1] * (op.result.type.rank - 2)], np.int64)
    slopes = w.node("Reshape", [operands[1], w.constant(shape)], op)
    _stored(w, op, w.node("PRelu", [*_reals(w, op, operands[:1]), slopes], op), result)


def _linear_average_pool(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    made = w.fresh(f"{result}/AveragePool")
    pool("AveragePool")(w, op, _reals(w, op, operands), made)
    _stored(w, op, made, result)


def _winograd(_: Writer, op: Operator, __: list[str], ___: str) -> None:
    raise ModelError(f"{op!r} has no ONNX form; write the graph without Winograd (winograd=off)")


WRITERS: dict[str, Write] = {
    "q.quantize": _quantize,
    "q.dequantize": _dequantize,
    "q.annotate": plain("Identity"),
    "q.table": _table,
    "q.linear_conv": _linear_conv,
    "q.linear_matmul": _linear_matmul,
    "q.linear_add": _linear_binary("Add"),
    "q.linear_mul": _linear_binary("Mul"),
    "q.linear_prelu": _linear_prelu,
    "q.linear_average_pool": _linear_average_pool,
    "q.winograd_conv": _winograd,
}
