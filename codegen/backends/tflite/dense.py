"""Matrix products, and sums and products of two tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.ir.graph import Operator, Value
from secateur.ir.types import Quant

from .order import Order, channels_last, plain
from .schema import schema
from .windows import activation, bias_tensor, constants
from .writer import Array, Mapper, Writer, image_shape


def matmul(writer: Writer, op: Operator) -> None:
    """FULLY_CONNECTED; a 1x1 convolution where each column of the weights has a scale of its own.

    Rows of the weights follow the order that the left matrix is held in.
    """
    weights, bias, quant = constants(op)
    x = op.operands[0]
    held = writer.order_of(x) if x.type.shape[0] == 1 else plain(x.type.shape)
    rows = np.ascontiguousarray(_permuted(weights, held, x).T)
    along = quant if quant.axis is None else replace(quant, axis=0)
    if quant.axis is None:
        _fully_connected(writer, op, held, rows, bias, along)
    else:
        _pointwise(writer, op, held, rows, bias, along)


def _permuted(weights: Array, held: Order, x: Value) -> Array:
    return weights[held.indices()] if x.type.shape[0] == 1 else weights


def _fully_connected(
    writer: Writer, op: Operator, held: Order, rows: Array, bias: Array, quant: Quant
) -> None:
    x, y = op.operands[0], op.result
    operands = [
        writer.read(x, held, x.type.shape),
        writer.file.constant(op.operands[1].name, rows, quant),
        bias_tensor(writer, op, bias, quant),
    ]
    made = writer.make(y, plain(y.type.shape), y.type.shape)
    writer.file.operator(
        "FULLY_CONNECTED",
        4,
        operands,
        [made],
        "FullyConnectedOptions",
        fusedActivationFunction=activation(op),
    )


def _pointwise(writer: Writer, op: Operator, held: Order, rows: Array, bias: Array, quant: Quant) -> None:
    x, y = op.operands[0], op.result
    operands = [
        writer.read(x, held, (1, 1, *x.type.shape)),
        writer.file.constant(op.operands[1].name, rows.reshape(rows.shape[0], 1, 1, -1), quant),
        bias_tensor(writer, op, bias, quant),
    ]
    made = writer.make(y, plain(y.type.shape), (1, 1, *y.type.shape))
    writer.file.operator(
        "CONV_2D",
        3,
        operands,
        [made],
        "Conv2DOptions",
        padding=int(schema().Padding.VALID),
        fusedActivationFunction=activation(op),
        strideH=1,
        strideW=1,
        dilationHFactor=1,
        dilationWFactor=1,
    )


def binary(kind: str, options: str) -> Mapper:
    """The mapper of a sum or a product, whose second operand broadcasts to the first."""

    def mapper(writer: Writer, op: Operator) -> None:
        a, b = op.operands
        first, second, result = common_places(writer, op)
        operands = [writer.read(a, *first), writer.read(b, *second)]
        made = writer.make(op.result, *result)
        version = 3 if kind == "MUL" and _grows(op) else 2
        writer.file.operator(kind, version, operands, [made], options, fusedActivationFunction=activation(op))

    return mapper


Place = tuple[Order, tuple[int, ...]]


def common_places(writer: Writer, op: Operator) -> tuple[Place, Place, Place]:
    """Orders and shapes in which two operands that broadcast are read, and those of their result.

    One for all where the shapes are equal; ranks beyond four, and orders of it, are the IR's.
    """
    a, b = op.operands
    if a.type.shape != b.type.shape:
        first, second, result = (_standard_place(v.type.shape) for v in (a, b, op.result))
        return first, second, result
    order = next((o for o in map(writer.order_of, (a, b)) if not o.is_plain), writer.order_of(a))
    place = order, _shape_of(writer, order, (a, b))
    return place, place, place


def _standard_place(shape: tuple[int, ...]) -> Place:
    return standard(shape), standard_shape(shape)


def _grows(op: Operator) -> bool:
    """Whether a product of two steps is a step of the result or more."""
    a, b, y = (v.type.quant.scales[0] for v in (*op.operands, op.result) if v.type.quant is not None)
    return bool(np.float32(a) * np.float32(b) / np.float32(y) >= 1)


def _shape_of(writer: Writer, order: Order, values: tuple[Value, ...]) -> tuple[int, ...]:
    """The shape that the file has of one of the values that are held in this order."""
    for value in values:
        if not value.is_constant and writer.held[value].order == order:
            return writer.held[value].shape
    return values[0].type.shape


def standard(shape: tuple[int, ...]) -> Order:
    """Channels last for an image, else the IR's order."""
    return channels_last(shape) if len(shape) == 4 else plain(shape)


def standard_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The file's shape of a tensor in the standard order."""
    return image_shape(shape) if len(shape) == 4 else shape


MAPPERS: dict[str, Mapper] = {
    "q.linear_matmul": matmul,
    "q.linear_add": binary("ADD", "AddOptions"),
    "q.linear_mul": binary("MUL", "MulOptions"),
}
