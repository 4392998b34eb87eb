"""What picks elements along axes: runs of neighbours, joined; a GATHER where there are many of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator, constant_of
from secateur.ir.types import TensorType

from . import moves
from .dense import standard, standard_shape
from .moves import file_axis
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


MAPPERS: dict[str, Mapper] = {
    "nn.gather": gather,
    "nn.tile": tile,
    "nn.expand": expand,
    "nn.pad": pad,
    "nn.slice": slice_,
}
