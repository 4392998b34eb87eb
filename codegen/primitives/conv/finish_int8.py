"""Specification and ending of 8-bit convolutions: where sums start, and how they become the result.

Padding is the input's zero point zx, so a sum over x - zx has nothing to add
for taps outside the image: they are left out, and a sum starts at bias - zx *
(the sum of the weights of the taps inside). Which are inside depends on the
output row and column; a table has the start of every combination.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...targets.target import Target
from ...tir import T, load, store
from ...vector.requantize import BLOCK, Requantization, Requantize
from ..specs import ConvSpec, block_name, layout_block, up

Expr = Any
Buffer = Any
Array = NDArray[Any]
Taps = tuple[int, ...]

_BYTES = Requantization()
FEW = 4  # channel lanes of an input of few channels


@dataclass(frozen=True)
class LinearSpec(ConvSpec):
    """An 8-bit convolution; bias and epilogue are part of its ending.

    `border` tells that sums start differently where taps leave the image: the zero point is not 0.
    """

    border: bool = False
    ending: Requantization = _BYTES

    element_bytes: ClassVar[int] = 1

    @property
    def result_bytes(self) -> int:
        return 4 if self.ending.result == "float32" else 1

    def blocked_layouts(self, target: Target) -> tuple[str, str]:
        real = self.ending.result == "float32"
        return f"NCHW{BLOCK}c", block_name(target) if real else f"NCHW{BLOCK}c"

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


def linear_pointers(spec: LinearSpec) -> list[str | tuple[str, str]]:
    """Parameters of a kernel before the workspace."""
    residual = [("residual", "uint8")] if spec.ending.residual else []
    constants = [("weights", "int8"), ("starts", "int32")]
    ending = ("multipliers", "parameters", ("output", spec.ending.result))
    return [("data", "uint8"), *residual, *constants, *ending]


class LinearFinish:
    """Starts sums of `lanes` filters and stores their results."""

    def __init__(self, spec: LinearSpec, lanes: int, buffers: tuple[Buffer, ...]) -> None:
        self.spec, self.lanes = spec, lanes
        residual = buffers[0] if spec.ending.residual else None
        self.starts, multipliers, parameters, self.output = buffers[-4:]
        self.requantize = Requantize(spec.ending, lanes, parameters, multipliers, residual)
        self.classes = [] if spec.wide else column_classes(spec)

    def start(self, channel: Expr, rows: tuple[Expr, Expr], taps: tuple[Any, ...]) -> Expr:
        """The start of sums over kernel rows `rows` and kernel columns `taps`; of wide ones, their bounds."""
        if not self.spec.border:
            return load(self.starts, channel, self.lanes)
        high = T.max(0, rows[1])
        low = T.min(rows[0], high)
        if self.spec.wide:
            return self._of_corners(channel, (low, high), taps)
        number = self.classes.index(taps) * 2
        places = (self._place(number, high, channel), self._place(number + 1, low, channel))
        first, second = (load(self.starts, place, self.lanes) for place in places)
        return first + second

    def _of_corners(self, channel: Expr, rows: tuple[Expr, Expr], columns: Any) -> Expr:
        end = T.max(0, columns[1])
        first = T.min(columns[0], end)

        def corner(column: Expr, row: Expr) -> Expr:
            return load(self.starts, self._place(column, row, channel), self.lanes)

        inner = (corner(end, rows[1]) - corner(end, rows[0])) - (
            corner(first, rows[1]) - corner(first, rows[0])
        )
        return corner(self.spec.kernel[1] + 1, 0) + inner

    def _place(self, number: Expr, row: Expr, channel: Expr) -> Expr:
        return (number * (self.spec.kernel[0] + 1) + row) * up(self.spec.filters, BLOCK) + channel

    def store(self, total: Expr, image: Expr, pixel: Expr, channel: Expr) -> None:
        """The sums of channels `channel`... at output pixel `pixel`, requantized."""
        at = self._index(layout_block(self.spec.out_layout), image, pixel, channel)
        residual = self._index(BLOCK, image, pixel, channel)
        store(self.output, at, self.requantize.of_sum(total, residual, channel), self.lanes)

    def _index(self, block: int, image: Expr, pixel: Expr, channel: Expr) -> Expr:
        blocks = up(self.spec.filters, block) // block
        number, lane = (channel // block, channel % block) if block > self.lanes else (channel // block, 0)
        return ((image * blocks + number) * self.spec.pixels + pixel) * block + lane
