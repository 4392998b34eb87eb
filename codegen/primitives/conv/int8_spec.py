"""Specification of 8-bit convolutions, and the table of where their sums start.

Padding is the input's zero point zx, so a sum over x - zx has nothing to add
for taps outside the image: they are left out, and a sum starts at bias - zx *
(the sum of the weights of the taps inside). Which are inside depends on the
output row and column; a table has the start of every combination.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from secateur.ir.support.reach import Reach
from secateur.ir.support.room import NO_ROOM, Room

from ...rounding import up
from ...targets.target import Target
from ...vector.requantize import BLOCK, Requantization
from ..specs import TILE_VECTORS, ConvSpec, block_name

Array = NDArray[Any]
Taps = tuple[int, ...]

_BYTES = Requantization()
FEW = 4  # channel lanes of an input of few channels


@dataclass(frozen=True)
class LinearSpec(ConvSpec):
    """An 8-bit convolution; bias and epilogue are part of its ending.

    `border` tells that sums start differently where taps leave the image: the zero point is not 0.
    `full` weights may be -128; `room` is theirs (`ir/support/room.py`).
    """

    border: bool = False
    full: bool = False
    room: Room = NO_ROOM
    ending: Requantization = _BYTES

    element_bytes: ClassVar[int] = 1

    @property
    def result_bytes(self) -> int:
        return 4 if self.ending.result == "float32" else 1

    @property
    def reach(self) -> Reach | None:
        return self.ending.reach

    @property
    def block(self) -> int:
        return BLOCK

    def costed(self) -> Self:
        """Without how sums start and how results are rounded and masked, too."""
        ending = replace(self.ending, filters=0, residual=bool(self.ending.residual))
        ending = replace(ending, saturates=False, converts=False, moved=False, limited=False, as_stored=False)
        return replace(super().costed(), border=False, ending=ending)

    def unbordered(self) -> Self:
        return replace(self, border=False)

    def blocked_layouts(self, target: Target) -> tuple[str, str]:
        real = self.ending.result == "float32"
        return f"NCHW{BLOCK}c", block_name(target) if real else f"NCHW{BLOCK}c"

    def filter_groups(self, lanes: int, vectors: int) -> int:
        """Without groups of empty lanes, which `LinearFinish` clears: a block has several vectors."""
        if self.groups > 1:
            return super().filter_groups(lanes, vectors)
        return -(-self.filters // (lanes * vectors))

    def tile_vectors(self, lanes: int) -> list[int]:
        """Groups that end within the last block."""
        if self.groups > 1:
            return super().tile_vectors(lanes)
        room = self.filter_vectors(lanes)
        return [v for v in TILE_VECTORS if self.filter_groups(lanes, v) * v <= room]

    def few_channels_layout(self) -> str:
        return f"NCHW{FEW}c"


def column_taps(spec: ConvSpec) -> list[Taps]:
    """For each output column, the kernel columns inside the image."""
    taps = []
    for column in range(spec.out_width):
        first = column * spec.strides[1] - spec.pads[1]
        inside = (0 <= first + kw * spec.dilations[1] < spec.width for kw in range(spec.kernel[1]))
        taps.append(tuple(kw for kw, valid in enumerate(inside) if valid))
    return taps


def column_classes(spec: LinearSpec) -> list[Taps]:
    """The distinct sets of `column_taps`, one where they do not matter."""
    every = tuple(range(spec.kernel[1]))
    return sorted(set(column_taps(spec))) if spec.border else [every]


def starts(spec: LinearSpec, weights: Array, bias: Array, zero_point: int) -> Array:
    """int32 of shape (column classes, 2, kernel rows + 1, filters padded to whole blocks).

    A sum of kernel rows [low, high) starts at [class, 0, high] + [class, 1, low];
    without `border` only [0, 0, kernel rows] is kept, as a vector. With it, wide kernels have `_corners`.
    """
    if spec.border and spec.wide:
        return _corners(spec, weights, bias, zero_point)
    rows, filters = spec.kernel[0], spec.filters
    classes = column_classes(spec)
    table = np.zeros((len(classes), 2, rows + 1, up(filters, BLOCK)), np.int64)
    for number, taps in enumerate(classes):
        of_rows = weights.astype(np.int64)[..., list(taps)].sum((1, 3))  # (filters, rows)
        below = np.concatenate([np.zeros((filters, 1), np.int64), np.cumsum(of_rows, 1)], 1).T
        table[number, 0, :, :filters] = bias - zero_point * below
        table[number, 1, :, :filters] = zero_point * below
    found = table if spec.border else table[0, 0, rows]
    return np.ascontiguousarray(found.astype(np.int32))  # wraps as the sums do: only totals need to fit


def _corners(spec: LinearSpec, weights: Array, bias: Array, zero_point: int) -> Array:
    """int32 of shape (kernel columns + 2, kernel rows + 1, filters padded to whole blocks).

    [c, r] is what the taps of columns before c and rows before r add; the bias is the last one's [0].
    """
    table = np.zeros((spec.kernel[1] + 2, spec.kernel[0] + 1, up(spec.filters, BLOCK)), np.int64)
    taps = weights.astype(np.int64).sum(1).transpose(2, 1, 0)  # (columns, rows, filters)
    table[1:-1, 1:, : spec.filters] = -zero_point * taps.cumsum(0).cumsum(1)
    table[-1, 0, : spec.filters] = bias
    return table.astype(np.int32)
