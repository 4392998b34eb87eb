"""Extremes along axes, where they stand, and the whole numbers that say so."""

from __future__ import annotations

import numpy as np

from secateur.ir.graph import Operator

from .dense import standard, standard_shape
from .moves import file_axis
from .schema import schema
from .windows import need_bytes
from .writer import Mapper, Writer, need


def extreme(kind: str) -> Mapper:
    """REDUCE_MAX or REDUCE_MIN over any axes."""

    def mapper(writer: Writer, op: Operator) -> None:
        x = op.operands[0].type
        need_bytes(x)
        axes = [a % x.rank for a in op["axes"]] or list(range(x.rank))
        kept = tuple(1 if a in axes else d for a, d in enumerate(x.shape))
        where = np.array([file_axis(x.rank, a) for a in axes], np.int32)
        operands = [_read(writer, op), writer.file.constant("axes", where)]
        made = writer.make(op.result, standard(kept), standard_shape(kept))
        writer.file.operator(kind, 2, operands, [made], "ReducerOptions", keepDims=True)

    return mapper


def _read(writer: Writer, op: Operator) -> int:
    x = op.operands[0]
    return writer.read(x, standard(x.type.shape), standard_shape(x.type.shape))


def argmax(writer: Writer, op: Operator) -> None:
    """ARG_MAX, which takes the first of equals and leaves its axis out."""
    x = op.operands[0].type
    need_bytes(x)
    need(not op["select_last"], "of equals it takes the last, TFLite the first")
    axis = op["axis"] % x.rank
    kept = tuple(1 if a == axis else d for a, d in enumerate(x.shape))
    where = file_axis(x.rank, axis)
    operands = [_read(writer, op), writer.file.constant("axis", np.array(where, np.int32))]
    shape = tuple(d for a, d in enumerate(standard_shape(kept)) if a != where)
    made = writer.make(op.result, standard(kept), shape)
    whole = int(schema().TensorType.INT64)
    writer.file.operator("ARG_MAX", 2, operands, [made], "ArgMaxOptions", outputType=whole)


def cast(writer: Writer, op: Operator) -> None:
    """CAST of whole numbers, as of indices."""
    types = (op.operands[0].type, op.result.type)
    need(all(not t.dtype.is_float and t.quant is None for t in types), "it converts from or to floats")
    x = op.operands[0]
    held = writer.order_of(x)
    shape = writer.held[x].shape
    names = {f"{side}DataType": int(getattr(schema().TensorType, t.dtype.numpy.name.upper()))
             for side, t in zip(("in", "out"), types, strict=True)}  # fmt: skip
    operand = writer.read(x, held, shape)
    writer.file.operator("CAST", 1, [operand], [writer.make(op.result, held, shape)], "CastOptions", **names)


MAPPERS: dict[str, Mapper] = {
    "nn.reduce_max": extreme("REDUCE_MAX"),
    "nn.reduce_min": extreme("REDUCE_MIN"),
    "nn.argmax": argmax,
    "nn.cast": cast,
}
