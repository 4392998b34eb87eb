"""What moves elements: mostly nothing is left of it, for a file may hold elements in any order."""

from __future__ import annotations

import numpy as np

from secateur.ir.graph import Operator

from .dense import standard, standard_shape
from .order import Order, channels_last, order, plain, transposed
from .padding import pad_into
from .schema import schema
from .windows import joined, need_bytes
from .writer import Held, Mapper, Writer, image_shape, need

IMAGE_AXES = {0: 0, 1: 3, 2: 1, 3: 2}
"""Where an image's axis is with channels last."""


def file_axis(rank: int, axis: int) -> int:
    """The axis of a tensor in the standard order."""
    return IMAGE_AXES[axis % rank] if rank == 4 else axis % rank


def along_file(values: tuple[int, ...]) -> list[int]:
    """One number an axis, in the order of the file's axes."""
    return [values[0], *values[2:], values[1]] if len(values) == 4 else list(values)


def _standard(writer: Writer, op: Operator, index: int = 0) -> int:
    type = op.operands[index].type
    return writer.read(op.operands[index], standard(type.shape), standard_shape(type.shape))


def _make(writer: Writer, op: Operator) -> int:
    shape = op.result.type.shape
    return writer.make(op.result, standard(shape), standard_shape(shape))


def reshape(writer: Writer, op: Operator) -> None:
    """Nothing: the same elements, wherever they lie."""
    x = op.operands[0]
    need(not x.is_constant, "it reshapes a constant")
    writer.order_of(x)
    writer.same(op.result, writer.held[x])


def transpose(writer: Writer, op: Operator) -> None:
    """Nothing where the file's order can be seen as one of the result, else from the standard order."""
    x, perm = op.operands[0], op["perm"]
    held, shape = writer.order_of(x), x.type.shape
    found = transposed(held, shape, perm)
    if found is not None:
        writer.same(op.result, Held(writer.held[x].tensor, found, writer.held[x].shape))
        return
    tensor = writer.read(x, plain(shape), shape)
    order = transposed(plain(shape), shape, perm)
    assert order is not None, "the IR's order has the shape's axes"
    writer.same(op.result, Held(tensor, order, shape))


def concat(writer: Writer, op: Operator) -> None:
    for value in op.operands:
        need_bytes(value.type)
    parts = [_standard(writer, op, i) for i in range(len(op.operands))]
    joined(writer, parts, _make(writer, op), file_axis(op.result.type.rank, op["axis"]))


def slice_(writer: Writer, op: Operator) -> None:
    """SLICE, or STRIDED_SLICE where it takes every so manieth element."""
    starts, sizes, steps = (along_file(op[name]) for name in ("starts", "sizes", "steps"))
    x = _standard(writer, op)
    begin = writer.file.constant("begin", np.array(starts, np.int32))
    if set(steps) == {1}:
        size = writer.file.constant("size", np.array(sizes, np.int32))
        writer.file.operator("SLICE", 2, [x, begin, size], [_make(writer, op)], "SliceOptions")
        return
    ends = [a + (n - 1) * s + 1 for a, n, s in zip(starts, sizes, steps, strict=True)]
    end = writer.file.constant("end", np.array(ends, np.int32))
    step = writer.file.constant("strides", np.array(steps, np.int32))
    made = _make(writer, op)
    writer.file.operator("STRIDED_SLICE", 2, [x, begin, end, step], [made], "StridedSliceOptions")


def pad(writer: Writer, op: Operator) -> None:
    """PAD or PADV2 by one byte, MIRROR_PAD by what lies at the edge."""
    x, rank = op.operands[0], op.result.type.rank
    need_bytes(x.type)
    need(min(op["pads"]) >= 0, "it cuts where it pads by less than 0")
    need(rank <= 4, f"TFLite pads no more than 4 axes, it has {rank}")
    pairs = tuple(zip(along_file(op["pads"][:rank]), along_file(op["pads"][rank:]), strict=True))
    if op["mode"] == "constant":
        pad_into(writer, _standard(writer, op), _make(writer, op), x.type, pairs, int(op["value"]))
        return
    counts = writer.file.constant("pads", np.array(pairs, np.int32))
    operands = [_standard(writer, op), counts]
    writer.file.operator(
        "MIRROR_PAD",
        2,
        operands,
        [_make(writer, op)],
        "MirrorPadOptions",
        mode=int(schema().MirrorPadMode.REFLECT),
    )


def _blocked(op: Operator, shape: tuple[int, ...]) -> Order:
    """Channels last, in the order that TFLite wants of blocks of pixels: places in a block outermost."""
    if op["mode"] == "DCR":
        return channels_last(shape)
    n, c, h, w = shape
    return order((n, c // op["block"] ** 2, op["block"] ** 2, h, w), (0, 3, 4, 2, 1))


def depth_to_space(writer: Writer, op: Operator) -> None:
    shape = op.operands[0].type.shape
    x = writer.read(op.operands[0], _blocked(op, shape), image_shape(shape))
    made = writer.make_image(op.result)
    writer.file.operator("DEPTH_TO_SPACE", 1, [x], [made], "DepthToSpaceOptions", blockSize=op["block"])


def space_to_depth(writer: Writer, op: Operator) -> None:
    x, shape = writer.image(op.operands[0]), op.result.type.shape
    made = writer.make(op.result, _blocked(op, shape), image_shape(shape))
    writer.file.operator("SPACE_TO_DEPTH", 2, [x], [made], "SpaceToDepthOptions", blockSize=op["block"])


MAPPERS: dict[str, Mapper] = {
    "nn.reshape": reshape,
    "nn.transpose": transpose,
    "nn.concat": concat,
    "nn.depth_to_space": depth_to_space,
    "nn.space_to_depth": space_to_depth,
}
