"""Resizing by nearest neighbours: the kernel where it takes the same elements, else what picks them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.resampling import nearest

from .picks import Indices, Shape, picked
from .writer import Mapper, Writer, need

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


MAPPERS: dict[str, Mapper] = {
    "nn.resize": resize,
}
