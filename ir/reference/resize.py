"""Resize: along each axis an element, or a weighted sum of some (`ir.resampling`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from ..graph import Operator
from ..resampling import nearest, positions, saturated, taps, whole_limits
from .rule import Array, Rule


def resize(op: Operator, arrays: Sequence[Array]) -> Array:
    """Axes one after the other, in float64 where elements are summed; integers are rounded at the end.

    They are rounded half to even, and saturated.
    """
    (x,) = arrays
    y = x if op["mode"] == "nearest" else x.astype(np.float64)
    for axis in _changed(op, x):
        y = _along(op, y, axis)
    if op["coordinates"] == "tf_crop_and_resize":
        y = np.where(_outside(op, x), saturated(op["extrapolation"], x.dtype).astype(y.dtype), y)
    if x.dtype.kind == "f" or op["mode"] == "nearest":
        return y.astype(x.dtype)
    return np.asarray(np.clip(np.rint(y), *whole_limits(x.dtype)).astype(x.dtype))


def _changed(op: Operator, x: Array) -> list[int]:
    crop = op["coordinates"] == "tf_crop_and_resize"
    return [a for a, d in enumerate(x.shape) if crop or op["shape"][a] != d or op["scales"][a] != 1.0]


def _along(op: Operator, y: Array, axis: int) -> Array:
    if op["mode"] == "nearest":
        return np.take(y, nearest(op, axis), axis=axis)
    along = [-1 if a == axis else 1 for a in range(y.ndim)]
    terms = zip(*taps(op, axis), strict=True)
    return reduce(np.add, (np.take(y, i, axis=axis) * w.reshape(along) for i, w in terms))


def _outside(op: Operator, x: Array) -> Array:
    """Which results of a crop lie outside the input along some axis."""
    outside = np.zeros(op["shape"], bool)
    for axis, size in enumerate(x.shape):
        beyond = ~positions(op, axis).inside(size)
        outside |= beyond.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return outside


RULES: dict[str, Rule] = {"resize": resize}
