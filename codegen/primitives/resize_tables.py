"""Which input positions each output position of a resized axis reads, and their weights (ONNX Resize-19)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator

from .operator import Array

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AxisTable:
    """`index` and `weight` are (out, taps); `inside` tells which outputs of a crop lie within the input."""

    size: int
    index: Array
    weight: Floats
    inside: Array

    @property
    def out(self) -> int:
        return int(self.index.shape[0])

    @property
    def taps(self) -> int:
        return int(self.index.shape[1])

    @property
    def identity(self) -> bool:
        """Whether the axis stays as it is."""
        same = self.taps == 1 and self.out == self.size and bool(self.inside.all())
        return same and bool((self.index[:, 0] == np.arange(self.size)).all() and (self.weight == 1).all())


def _positions(op: Operator, axis: int, size: int) -> Floats:
    """Each output's coordinate among the input's elements."""
    out: int = op["shape"][axis]
    scale: float = op["scales"][axis]
    mode = op["coordinates"]
    at, exact = np.arange(out, dtype=np.float64), scale * size
    if mode == "align_corners":
        return at * ((size - 1) / (exact - 1)) if out > 1 else at * 0
    if mode == "asymmetric":
        return at / scale
    if mode == "tf_crop_and_resize":
        return _crop(op, axis, size, at)
    if mode == "pytorch_half_pixel" and out == 1:
        return at * 0
    centre = size / 2 * (1 - out / exact) if mode == "half_pixel_symmetric" else 0.0
    return (at + 0.5) / scale - 0.5 + centre


def _crop(op: Operator, axis: int, size: int, at: Floats) -> Floats:
    rank = len(op["shape"])
    roi = op["roi"] or (0.0,) * rank + (1.0,) * rank
    start: float = roi[axis] * (size - 1)
    stop: float = roi[rank + axis] * (size - 1)
    return start + at * ((stop - start) / (len(at) - 1)) if len(at) > 1 else at + (start + stop) / 2


def _rounded(x: Floats, how: str) -> Floats:
    if how == "round_prefer_floor":
        return np.ceil(x - 0.5)
    if how == "round_prefer_ceil":
        return np.floor(x + 0.5)
    return np.floor(x) if how == "floor" else np.ceil(x)


def _linear(distance: Floats) -> Floats:
    result: Floats = np.clip(1 - np.abs(distance), 0, None)
    return result


def _cubic(a: float) -> Callable[[Floats], Floats]:
    """The kernel of Keys, "Cubic convolution interpolation for digital image processing" (1981)."""

    def kernel(distance: Floats) -> Floats:
        d = np.abs(distance)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        result: Floats = np.where(d <= 1, near, np.where(d < 2, far, 0))
        return result

    return kernel


def axis_table(op: Operator, axis: int) -> AxisTable:
    """The table of one axis of a `resize`."""
    size = op.operands[0].type.shape[axis]
    at = _positions(op, axis, size)
    inside = np.ones(len(at), bool)
    if op["coordinates"] == "tf_crop_and_resize":
        inside = (at >= 0) & (at <= size - 1)
    if op["mode"] == "nearest":
        nearest = np.clip(_rounded(at, op["rounding"]), 0, size - 1)[:, None].astype(np.int32)
        return AxisTable(size, nearest, np.ones(nearest.shape), inside)
    return AxisTable(size, *_interpolated(op, axis, size, at), inside)


def _interpolated(op: Operator, axis: int, size: int, at: Floats) -> tuple[Array, Floats]:
    kernel, radius = (_linear, 1) if op["mode"] == "linear" else (_cubic(op["cubic_coeff"]), 2)
    squeeze = min(1.0, op["scales"][axis]) if op["antialias"] else 1.0
    reach = math.ceil(radius / squeeze)
    index = np.floor(at)[:, None] + np.arange(1 - reach, reach + 1)
    weight = kernel((index - at[:, None]) * squeeze)
    if op["exclude_outside"]:
        weight = np.where((index >= 0) & (index < size), weight, 0)
    weight = weight / weight.sum(axis=1, keepdims=True)
    used = (weight != 0).any(axis=0)
    used[0] |= not used.any()
    return np.clip(index, 0, size - 1).astype(np.int32)[:, used], weight[:, used]
