"""Operators that only TFLite has on bytes, as the file holds them."""

from __future__ import annotations

import numpy as np

from secateur.ir.graph import Operator, constant_of
from secateur.ir.types import Quant

from .dense import common_places, standard, standard_shape
from .order import Order, order, plain
from .padding import Window
from .schema import schema
from .windows import activation, bias_tensor, constants
from .writer import Mapper, Writer, image_shape, need

Shape = tuple[int, ...]


def axis_last(shape: Shape, axis: int) -> tuple[Order, Shape]:
    """The order of a tensor whose axis comes last, all others before it as they are, and that shape."""
    axis %= len(shape)
    perm = (*(i for i in range(len(shape)) if i != axis), axis)
    return order(shape, perm), tuple(shape[i] for i in perm)


def softmax(writer: Writer, op: Operator) -> None:
    """SOFTMAX along the last axis of rows."""
    x = op.operands[0]
    wanted, shape = axis_last(x.type.shape, op["axis"])
    rows = (x.type.elements // max(1, shape[-1]), shape[-1])
    operand, made = writer.read(x, wanted, rows), writer.make(op.result, wanted, rows)
    writer.file.operator("SOFTMAX", 2, [operand], [made], "SoftmaxOptions", beta=1.0)


def pair(kind: str, options: str, version: int = 2) -> Mapper:
    """The mapper of an operator of two tensors that broadcast."""

    def mapper(writer: Writer, op: Operator) -> None:
        first, second, result = common_places(writer, op)
        a, b = op.operands
        operands = [writer.read(a, *first), writer.read(b, *second)]
        fused = {"fusedActivationFunction": activation(op)} if kind == "SUB" else {}
        writer.file.operator(kind, version, operands, [writer.make(op.result, *result)], options, **fused)

    return mapper


def matmul(writer: Writer, op: Operator) -> None:
    """BATCH_MATMUL of tensors in the IR's order."""
    need(op.result.type.rank <= 5, "TFLite multiplies matrices of at most five axes")
    operands = [writer.read(v, plain(v.type.shape), v.type.shape) for v in op.operands]
    shape = op.result.type.shape
    made = writer.make(op.result, plain(shape), shape)
    writer.file.operator("BATCH_MATMUL", 2, operands, [made], "BatchMatMulOptions", adjX=False, adjY=False)


def prelu(writer: Writer, op: Operator) -> None:
    """PRELU with one slope for each of the innermost axis."""
    x, slopes = op.operands
    wanted, shape = standard(x.type.shape), standard_shape(x.type.shape)
    if len(shape) not in (2, 4):
        wanted, shape = axis_last(x.type.shape, 1)
    array = constant_of(slopes)
    need(array is not None, "its slopes are computed")
    assert array is not None
    stored = array.reshape(*[1] * (len(shape) - 2), -1)
    operands = [writer.read(x, wanted, shape), writer.file.constant(slopes.name, stored, slopes.type.quant)]
    writer.file.operator("PRELU", 1, operands, [writer.make(op.result, wanted, shape)])


# Transposed convolutions ----------------------------------------------------------------------------


def conv_transpose(writer: Writer, op: Operator) -> None:
    """TRANSPOSE_CONV by SAME where that cuts what the pads cut, else VALID and a SLICE of what it gives."""
    need(set(op["dilations"]) == {1}, "its taps are dilated, TFLite's are not")
    need(op.result.type.rank <= 4, "it has more than two axes of space")
    x, y = op.operands[0], op.result
    image, shape = image_shape(x.type.shape), image_shape(y.type.shape)
    window = _window(op)
    if _is_same(image, shape, window):
        _transposed(writer, op, window, writer.make_image(y), "SAME", shape)
        return
    full = tuple(s + sum(p) for s, p in zip(shape, ((0, 0), *window.pads, (0, 0)), strict=True))
    if full == shape:
        _transposed(writer, op, window, writer.make_image(y), "VALID", shape)
        return
    whole = writer.result(f"{y.name}_whole", y.type, full)
    _transposed(writer, op, window, whole, "VALID", full)
    begin = np.array([0, *(p[0] for p in window.pads), 0], np.int32)
    operands = [
        whole,
        writer.file.constant("begin", begin),
        writer.file.constant("size", np.array(shape, np.int32)),
    ]
    writer.file.operator("SLICE", 2, operands, [writer.make_image(y)], "SliceOptions")


def _window(op: Operator) -> Window:
    """Kernel, strides and what is cut off, over two axes of space."""
    kernel, n = op.operands[1].type.shape[2:], len(op["strides"])
    pads = tuple(zip(op["pads"][:n], op["pads"][n:], strict=True))
    ones, none = (1,) * (2 - n), ((0, 0),) * (2 - n)
    strides = (*ones, *op["strides"])
    whole = (*ones, *kernel)
    return Window((whole[0], whole[1]), (strides[0], strides[1]), (1, 1), (*none, *pads))


def _is_same(image: Shape, shape: Shape, window: Window) -> bool:
    """Whether SAME gives this result: as many elements as strides, the smaller half cut off before."""
    axes = zip(image[1:3], shape[1:3], window.kernel, window.strides, window.pads, strict=True)
    return all(-(-o // s) == i and p[0] == max(0, (i - 1) * s + k - o) // 2 for i, o, k, s, p in axes)


def _transposed(writer: Writer, op: Operator, window: Window, made: int, scheme: str, shape: Shape) -> None:
    weights, bias, quant = constants(op)
    kernel = weights.reshape(*weights.shape[:2], *window.kernel)
    filters = np.ascontiguousarray(kernel.transpose(1, 2, 3, 0))
    along = Quant(quant.scales, quant.zero_points, None if quant.axis is None else 0)
    fused = activation(op)
    writer.file.operator(
        "TRANSPOSE_CONV",
        4 if fused else 3,
        [
            writer.file.constant("shape", np.array(shape, np.int32)),
            writer.file.constant(op.operands[1].name, filters, along),
            writer.image(op.operands[0]),
            bias_tensor(writer, op, bias, along),
        ],
        [made],
        "TransposeConvOptions",
        padding=int(getattr(schema().Padding, scheme)),
        fusedActivationFunction=fused,
        **window.options,
    )


def resize(writer: Writer, op: Operator) -> None:
    """RESIZE_BILINEAR."""
    size = writer.file.constant("size", np.array(op["shape"], np.int32))
    operands, made = [writer.image(op.operands[0]), size], writer.make_image(op.result)
    version = 3 if op["half_pixel"] else 2
    fields = {"alignCorners": op["align_corners"], "halfPixelCenters": op["half_pixel"]}
    writer.file.operator("RESIZE_BILINEAR", version, operands, [made], "ResizeBilinearOptions", **fields)


MAPPERS: dict[str, Mapper] = {
    "q.tflite_softmax": softmax,
    "q.tflite_sub": pair("SUB", "SubOptions"),
    "q.tflite_maximum": pair("MAXIMUM", "MaximumMinimumOptions"),
    "q.tflite_minimum": pair("MINIMUM", "MaximumMinimumOptions"),
    "q.tflite_matmul": matmul,
    "q.tflite_prelu": prelu,
    "q.tflite_conv_transpose": conv_transpose,
    "q.tflite_resize": resize,
}
