"""Resize: for each axis coordinates, and weights by an interpolation kernel (ONNX Resize-19)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from ..graph import Operator
from .rule import Array, Rule


def coordinates(op: Operator, axis: int, size: int) -> Array:
    """Where each output element of `axis` lies between the input's `size` elements, in float64."""
    out, scale, mode = op["shape"][axis], op["scales"][axis], op["coordinates"]
    i: Array = np.arange(out, dtype=np.float64)
    wanted = scale * size  # the output extent before it was made an integer
    if mode == "align_corners":
        return np.zeros(out) if out == 1 else np.multiply(i, (size - 1) / (wanted - 1))
    if mode == "asymmetric":
        return np.asarray(i / scale)
    if mode == "tf_crop_and_resize":
        return _cropped(op, axis, size, i)
    if mode == "pytorch_half_pixel" and out == 1:
        return np.zeros(out)
    shift = size / 2 * (1 - out / wanted) if mode == "half_pixel_symmetric" else 0.0
    found: Array = np.divide(i + 0.5, scale) + (shift - 0.5)
    return found


def _cropped(op: Operator, axis: int, size: int, i: Array) -> Array:
    roi = op["roi"] or (0.0,) * len(op["shape"]) + (1.0,) * len(op["shape"])
    start, end = roi[axis], roi[len(op["shape"]) + axis]
    if len(i) == 1:
        return np.full(1, 0.5 * (start + end) * (size - 1))
    return np.add(start * (size - 1), i * ((end - start) * (size - 1) / (len(i) - 1)))


_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _triangle(t: Array, _: float) -> Array:
    found: Array = np.maximum(0.0, 1 - np.abs(t))
    return found


def _cubic(t: Array, a: float) -> Array:
    """Keys' cubic convolution kernel (Keys 1981) with parameter `a`."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


_KERNELS: dict[str, tuple[Callable[[Array, float], Array], int]] = {
    "linear": (_triangle, 1),
    "cubic": (_cubic, 2),
}
"""The interpolation kernel of each mode and how far it reaches."""


def nearest(op: Operator, axis: int, size: int) -> Array:
    """The input element that each output element of `axis` copies."""
    return np.clip(_ROUNDINGS[op["rounding"]](coordinates(op, axis, size)), 0, size - 1).astype(int)


def taps(op: Operator, axis: int, size: int) -> tuple[Array, Array]:
    """Which input elements each output element of `axis` is a sum of, and their weights: both taps x out."""
    where = coordinates(op, axis, size)
    kernel, radius = _KERNELS[op["mode"]]
    narrow = min(1.0, op["scales"][axis]) if op["antialias"] else 1.0
    first = math.floor(-radius / narrow) + 1
    index = np.floor(where) + np.arange(first, 2 - first)[:, None]
    weight = kernel((index - where) * narrow, op["cubic_coeff"])
    if op["exclude_outside"]:
        weight = np.where((index >= 0) & (index < size), weight, 0.0)
    return np.clip(index, 0, size - 1).astype(int), weight / weight.sum(axis=0)


def resize(op: Operator, arrays: Sequence[Array]) -> Array:
    """Axes one after the other, in float64 where elements are summed."""
    (x,) = arrays
    y = x if op["mode"] == "nearest" else x.astype(np.float64)
    for axis in _changed(op, x):
        y = _along(op, y, axis)
    if op["coordinates"] == "tf_crop_and_resize":
        y = np.where(_outside(op, x), op["extrapolation"], y)
    return np.asarray(y, x.dtype)


def _changed(op: Operator, x: Array) -> list[int]:
    crop = op["coordinates"] == "tf_crop_and_resize"
    return [a for a, d in enumerate(x.shape) if crop or op["shape"][a] != d or op["scales"][a] != 1.0]


def _along(op: Operator, y: Array, axis: int) -> Array:
    if op["mode"] == "nearest":
        return np.take(y, nearest(op, axis, y.shape[axis]), axis=axis)
    along = [-1 if a == axis else 1 for a in range(y.ndim)]
    terms = zip(*taps(op, axis, y.shape[axis]), strict=True)
    return reduce(np.add, (np.take(y, i, axis=axis) * w.astype(y.dtype).reshape(along) for i, w in terms))


def _outside(op: Operator, x: Array) -> Array:
    """Which results of a crop lie outside the input along some axis."""
    outside = np.zeros(op["shape"], bool)
    for axis, size in enumerate(x.shape):
        where = coordinates(op, axis, size)
        beyond = (where < 0) | (where > size - 1)
        outside |= beyond.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return outside


RULES: dict[str, Rule] = {"resize": resize}
