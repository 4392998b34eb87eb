"""Functions of a byte: TFLite's own, and any table by a look-up; and the ends of quantization."""

from __future__ import annotations

import numpy as np

from secateur.ir.graph import Operator, constant_of
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import DType

from .schema import schema
from .writer import SIGN, Array, Mapper, Writer, need, stored_array, stored_quant


def table(writer: Writer, op: Operator) -> None:
    """A change of sign is none in the file; a function is TFLite's operator of that name, or looked up."""
    x, values = op.operands[0], constant_of(op.operands[1])
    need(values is not None, "its table is computed")
    assert values is not None
    if x.type.dtype != op.result.type.dtype and bool((values.view(np.uint8) == np.arange(256) ^ 0x80).all()):
        writer.order_of(x)
        writer.same(op.result, writer.held[x])
    elif op["function"]:
        _elementwise(writer, op, *FUNCTIONS[op["function"]])
    else:
        _looked_up(writer, op, values)


def _looked_up(writer: Writer, op: Operator, values: Array) -> None:
    """CAST to a whole number, ADD of what makes it an index, GATHER from the table."""
    need(op["axis"] == -1 and values.dtype.itemsize == 1, "its table holds more than bytes of one scale")
    x, y = op.operands[0], op.result
    held = writer.order_of(x)
    shape = writer.held[x].shape
    stored = writer.read(x, held, shape)
    index = [writer.file.tensor(f"{y.name}_{what}", shape, np.dtype(np.int32)) for what in ("byte", "index")]
    kinds = {"inDataType": int(schema().TensorType.INT8), "outDataType": int(schema().TensorType.INT32)}
    writer.file.operator("CAST", 1, [stored], index[:1], "CastOptions", **kinds)
    sign = writer.file.constant("sign", np.array(SIGN, np.int32))
    writer.file.operator("ADD", 1, [index[0], sign], index[1:], "AddOptions", fusedActivationFunction=0)
    bytes_ = np.arange(-SIGN, SIGN) + (SIGN if x.type.dtype == DType.U8 else 0)
    laid = stored_array(values[bytes_ & 0xFF])
    entries = writer.file.constant(f"{y.name}_table", laid, stored_quant(y.type))
    made = writer.make(y, held, shape)
    writer.file.operator("GATHER", 2, [entries, index[1]], [made], "GatherOptions", axis=0, batchDims=0)


FUNCTIONS: dict[str, tuple[str, int, str]] = {
    "requantize": ("QUANTIZE", 1, ""),
    "logistic": ("LOGISTIC", 2, ""),
    "tanh": ("TANH", 2, ""),
    "relu": ("RELU", 2, ""),
}
"""TFLite's operator of a function that a table holds, its version, and its table of options."""


def _elementwise(writer: Writer, op: Operator, kind: str, version: int, options: str) -> None:
    x = op.operands[0]
    held = writer.order_of(x)
    operand = writer.read(x, held, writer.held[x].shape)
    made = writer.make(op.result, held, writer.held[x].shape)
    writer.file.operator(kind, version, [operand], [made], options)


def quantize(writer: Writer, op: Operator) -> None:
    need(op.operands[0] in writer.graph.inputs, "it quantizes what is computed in float")
    need(op["axis"] == -1, "its result has more than one scale")
    one_quant(op.result.type)
    _elementwise(writer, op, "QUANTIZE", 1, "")


def dequantize(writer: Writer, op: Operator) -> None:
    need(writer.graph.is_output(op.result) and not op.result.uses, "what it gives is computed on in float")
    _elementwise(writer, op, "DEQUANTIZE", 2, "")


MAPPERS: dict[str, Mapper] = {"q.table": table, "q.quantize": quantize, "q.dequantize": dequantize}
