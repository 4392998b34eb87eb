"""What picks elements along axes: runs of neighbours, joined; a GATHER where there are many of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator, constant_of
from secateur.ir.resampling import nearest
from secateur.ir.types import TensorType

from . import moves
from .dense import standard, standard_shape
from .moves import file_axis
from .schema import schema
from .windows import joined, need_bytes
from .writer import Mapper, Writer, need

Indices = NDArray[np.int64]
Shape = tuple[int, ...]
FEW_RUNS = 8
"""So many slices at most are joined; more are gathered, which the Edge TPU does not do."""


def picked(writer: Writer, op: Operator, before: Shape, indices: Sequence[Indices]) -> None:
    """The elements of the operand, seen under the shape `before`, with these indices along each axis."""
    x, y = op.operands[0], op.result
    need_bytes(x.type)
    changed = [a for a, (i, n) in enumerate(zip(indices, before, strict=True)) if not _is_all(i, n)]
    shape = list(before)
    tensor = writer.read(x, standard(before), standard_shape(before))
    for axis in changed:
        shape[axis] = len(indices[axis])
        made = writer.result(f"{y.name or op.loc}_{axis}", x.type, standard_shape(tuple(shape)))
        _along(writer, tensor, made, file_axis(len(before), axis), indices[axis], x.type)
        tensor = made
    writer.same(y, writer.held_at(tensor, standard(tuple(shape))))


def _is_all(indices: Indices, extent: int) -> bool:
    return len(indices) == extent and bool((indices == np.arange(extent)).all())


def _along(writer: Writer, x: int, made: int, axis: int, indices: Indices, type: TensorType) -> None:
    runs = list(_runs(indices))
    if len(runs) > FEW_RUNS:
        at = writer.file.constant("indices", indices.astype(np.int32))
        writer.file.operator("GATHER", 2, [x, at], [made], "GatherOptions", axis=axis, batchDims=0)
        return
    if len(runs) == 1:
        _slice(writer, x, made, axis, runs[0][0])
        return
    joined(writer, [_part(writer, x, axis, run, type) for run in runs], made, axis)


def _runs(indices: Indices) -> Iterator[tuple[int, int]]:
    """Begins and extents of stretches that count up by one."""
    cuts = np.flatnonzero(np.diff(indices) != 1) + 1
    for part in np.split(indices, cuts):
        yield int(part[0]), len(part)


def _part(writer: Writer, x: int, axis: int, run: tuple[int, int], type: TensorType) -> int:
    """A run as a tensor; the whole operand where it is that."""
    shape = [int(d) for d in writer.file.tensors[x].shape]
    if run == (0, shape[axis]):
        return x
    shape[axis] = run[1]
    made = writer.result("part", type, tuple(shape))
    _slice(writer, x, made, axis, run[0])
    return made


def _slice(writer: Writer, x: int, made: int, axis: int, begin: int) -> None:
    begins = np.zeros(len(writer.file.tensors[x].shape), np.int32)
    begins[axis] = begin
    sizes = np.array(writer.file.tensors[made].shape, np.int32)
    operands = [x, writer.file.constant("begin", begins), writer.file.constant("size", sizes)]
    writer.file.operator("SLICE", 2, operands, [made], "SliceOptions")


# Operators ------------------------------------------------------------------------------------------


def gather(writer: Writer, op: Operator) -> None:
    """Slices along an axis by constant indices."""
    x, at = op.operands[0].type, constant_of(op.operands[1])
    need(at is not None, "its indices are computed")
    assert at is not None
    axis = op["axis"] % x.rank
    indices = [np.arange(d) for d in x.shape]
    indices[axis] = at.reshape(-1).astype(np.int64) % x.shape[axis]
    picked(writer, op, x.shape, indices)


def tile(writer: Writer, op: Operator) -> None:
    shape = op.operands[0].type.shape
    picked(writer, op, shape, [np.tile(np.arange(d), r) for d, r in zip(shape, op["repeats"], strict=True)])


def expand(writer: Writer, op: Operator) -> None:
    given, shape = op.operands[0].type.shape, op.result.type.shape
    before = (1,) * (len(shape) - len(given)) + given
    picked(writer, op, before, [np.arange(n) % d for d, n in zip(before, shape, strict=True)])


def pad(writer: Writer, op: Operator) -> None:
    """PAD, or what picks elements of the operand to pad with."""
    if op["mode"] in ("constant", "reflect"):
        moves.pad(writer, op)
        return
    shape, pads = op.operands[0].type.shape, op["pads"]
    need(min(pads) >= 0, "it cuts where it pads by less than 0")
    widths = zip(pads[: len(shape)], pads[len(shape) :], strict=True)
    mode: Any = op["mode"]
    picked(
        writer, op, shape, [np.pad(np.arange(d), w, mode=mode) for d, w in zip(shape, widths, strict=True)]
    )


def slice_(writer: Writer, op: Operator) -> None:
    """SLICE or STRIDED_SLICE; backwards, what picks elements."""
    if min(op["steps"]) > 0:
        moves.slice_(writer, op)
        return
    parts = zip(op["starts"], op["sizes"], op["steps"], strict=True)
    picked(writer, op, op.operands[0].type.shape, [a + s * np.arange(n) for a, n, s in parts])


# Nearest neighbours ---------------------------------------------------------------------------------

WAYS = ((False, False), (False, True), (True, False))
"""Of RESIZE_NEAREST_NEIGHBOR: corners aligned, or middles of pixels halved."""


def resize(writer: Writer, op: Operator) -> None:
    """RESIZE_NEAREST_NEIGHBOR where one of its ways takes the same elements, else what picks them."""
    x, y = op.operands[0].type, op.result.type
    need(op["mode"] == "nearest", f"it resizes by mode {op['mode']}")
    need(op["coordinates"] != "tf_crop_and_resize", "it crops and resizes")
    indices = [nearest(op, a) if _moves(op, a) else np.arange(x.shape[a]) for a in range(x.rank)]
    planes = x.rank == 4 and x.shape[:2] == y.shape[:2]
    found = [way for way in WAYS if planes and _agrees(way, x.shape, y.shape, indices)]
    if not found:
        picked(writer, op, x.shape, indices)
        return
    size = writer.file.constant("size", np.array(y.shape[2:], np.int32))
    operands, made = [writer.image(op.operands[0]), size], writer.make_image(op.result)
    fields = {"alignCorners": found[0][0], "halfPixelCenters": found[0][1]}
    version = 3 if any(found[0]) else 2
    kind, options = "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"
    writer.file.operator(kind, version, operands, [made], options, **fields)


def _moves(op: Operator, axis: int) -> bool:
    return bool(op["scales"][axis] != 1.0 or op["shape"][axis] != op.operands[0].type.shape[axis])


def _agrees(way: tuple[bool, bool], before: Shape, after: Shape, indices: Sequence[Indices]) -> bool:
    """Whether the kernel takes the elements that are wanted along both axes of space."""
    return all(bool((_nearest(way, before[a], after[a]) == indices[a]).all()) for a in (2, 3))


def _nearest(way: tuple[bool, bool], before: int, after: int) -> Indices:
    """What the kernel takes along an axis, in float32."""
    corners, middles = way
    top, bottom = (before - 1, after - 1) if corners and after > 1 else (before, after)
    at = (np.arange(after) + np.float32(0.5 if middles else 0.0)) * (np.float32(top) / np.float32(bottom))
    taken = np.floor(at + np.float32(0.5)) if corners else np.floor(at)
    found: Indices = np.clip(taken.astype(np.int64), 0, before - 1)
    return found


# Extremes -------------------------------------------------------------------------------------------


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
    "nn.gather": gather,
    "nn.tile": tile,
    "nn.expand": expand,
    "nn.pad": pad,
    "nn.slice": slice_,
    "nn.resize": resize,
    "nn.reduce_max": extreme("REDUCE_MAX"),
    "nn.reduce_min": extreme("REDUCE_MIN"),
    "nn.argmax": argmax,
    "nn.cast": cast,
}
