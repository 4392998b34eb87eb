"""Which elements each result of a resize is made of, and with which weights (ONNX Resize-19).

A model holds its scales in float32, and 1/3 is none: floor(3 / float32(1/3)) is 2. What
a scale means is the fraction that it was rounded from, so positions are computed from
that one, and fall on elements and half-way between them where they are meant to. The tables
here are the operator's definition, which the interpreter and the kernels share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import Operator

Whole = NDArray[np.int64]
Floats = NDArray[np.float64]

_FAR = 1 << 40  # further than any axis reaches


def simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction of least denominator in [low, high], 0 < low <= high (Stern and Brocot's tree)."""
    floor = low.numerator // low.denominator
    if floor == low:
        return Fraction(floor)
    if floor + 1 <= high:
        return Fraction(floor + 1)
    return floor + 1 / simplest(1 / (high - floor), 1 / (low - floor))


def stands_for(number: float, ratio: Fraction | None = None) -> Fraction:
    """The fraction that `number`, positive, was rounded from: `ratio` if it can be that, else the simplest.

    A number that float32 holds was rounded to float32, others to float64.
    """
    kind: Any = np.float32 if float(np.float32(number)) == number else np.float64
    low, here, high = (Fraction(float(v)) for v in _neighbours(kind(number)))
    least, most = (low + here) / 2, (here + high) / 2
    if ratio is not None and least <= ratio <= most:
        return ratio
    return simplest(least, most)


def _neighbours(number: Any) -> tuple[Any, Any, Any]:
    """The floats below and above, with the number between; finite ones."""
    kind = type(number)
    above = np.nextafter(number, kind(np.inf))
    return np.nextafter(number, kind(0)), number, above if np.isfinite(above) else number


@dataclass(frozen=True)
class Positions:
    """Result i lies at (step i + start) / unit."""

    count: int
    step: int
    start: int
    unit: int = 1

    @cached_property
    def _numerators(self) -> NDArray[Any]:
        largest = abs(self.step) * self.count + abs(self.start) + 2 * self.unit
        kind: Any = np.int64 if largest < 2**62 else object
        return np.arange(self.count).astype(kind) * self.step + self.start

    def _divided(self, doubled: int, after: int) -> Whole:
        """floor(position + after / 2), or of its negative: by whole numbers."""
        found = (doubled * self._numerators + after * self.unit) // (2 * self.unit)
        return np.asarray(np.clip(found, -_FAR, _FAR), np.int64)

    @property
    def floor(self) -> Whole:
        """The element at or before each position."""
        return self._divided(2, 0)

    @property
    def part(self) -> Floats:
        """How far each position is behind `floor`, in [0, 1)."""
        return np.asarray(self._numerators % self.unit / self.unit, np.float64)

    def nearest(self, rounding: str) -> Whole:
        """The element that a `rounding` of the operator takes."""
        if rounding == "floor":
            return self.floor
        if rounding == "round_prefer_ceil":
            return self._divided(2, 1)
        return -self._divided(-2, 1 if rounding == "round_prefer_floor" else 0)

    def inside(self, size: int) -> NDArray[np.bool_]:
        """Which positions lie between the first and the last of `size` elements."""
        at = self._numerators
        return np.asarray((at >= 0) & (at <= (size - 1) * self.unit), np.bool_)


def scale_of(op: Operator, axis: int) -> Fraction:
    """The exact scale of an axis of a `resize`."""
    size = op.operands[0].type.shape[axis]
    return stands_for(op["scales"][axis], Fraction(op["shape"][axis], size))


def positions(op: Operator, axis: int) -> Positions:
    """Of the results along one axis of a `resize`."""
    mode, out, size = op["coordinates"], op["shape"][axis], op.operands[0].type.shape[axis]
    if mode == "tf_crop_and_resize":
        return _cropped(op, axis, out, size)
    scale = scale_of(op, axis)
    p, q = scale.numerator, scale.denominator
    if mode == "asymmetric":
        return Positions(out, q, 0, p)
    if mode == "align_corners":
        last = p * size - q  # the wanted extent less one, in units of 1/q
        return Positions(out, (size - 1) * q, 0, last) if out > 1 and last > 0 else Positions(out, 0, 0)
    if mode == "pytorch_half_pixel" and out == 1:
        return Positions(out, 0, 0)
    centred = p * size - out * q if mode == "half_pixel_symmetric" else 0
    return Positions(out, 2 * q, q - p + centred, 2 * p)


def _cropped(op: Operator, axis: int, out: int, size: int) -> Positions:
    rank = len(op["shape"])
    roi = op["roi"] or (0.0,) * rank + (1.0,) * rank
    start, end = (_signed(v) * (size - 1) for v in (roi[axis], roi[rank + axis]))
    first, step = (start, (end - start) / (out - 1)) if out > 1 else ((start + end) / 2, Fraction(0))
    unit = first.denominator * step.denominator
    return Positions(out, int(step * unit), int(first * unit), unit)


def _signed(number: float) -> Fraction:
    """`stands_for` of any finite number."""
    if number == 0:
        return Fraction(0)
    return stands_for(number) if number > 0 else -stands_for(-number)


def _triangle(t: Floats, _: float) -> Floats:
    found: Floats = np.maximum(0.0, 1 - np.abs(t))
    return found


def _cubic(t: Floats, a: float) -> Floats:
    """The kernel of Keys, "Cubic convolution interpolation for digital image processing" (1981)."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


_KERNELS: dict[str, tuple[Callable[[Floats, float], Floats], int]] = {
    "linear": (_triangle, 1),
    "cubic": (_cubic, 2),
}
"""The interpolation kernel of each mode and how far it reaches."""


def nearest(op: Operator, axis: int) -> Whole:
    """The input element that each result along `axis` copies."""
    size = op.operands[0].type.shape[axis]
    return np.clip(positions(op, axis).nearest(op["rounding"]), 0, size - 1)


def taps(op: Operator, axis: int) -> tuple[Whole, Floats]:
    """Which input elements each result along `axis` is a sum of, and their weights: both taps x results.

    A tap that weighs nothing anywhere is left out, so that it spreads no NaN.
    """
    where, size = positions(op, axis), op.operands[0].type.shape[axis]
    kernel, radius = _KERNELS[op["mode"]]
    narrow = min(Fraction(1), scale_of(op, axis)) if op["antialias"] else Fraction(1)
    first = math.floor(-radius / narrow) + 1
    reached = np.arange(first, 2 - first)[:, None]
    index, weight = where.floor + reached, kernel((reached - where.part) * float(narrow), op["cubic_coeff"])
    if op["exclude_outside"]:
        weight = np.where((index >= 0) & (index < size), weight, 0.0)
    used = (weight != 0).any(axis=1)
    return np.clip(index, 0, size - 1)[used], (weight / weight.sum(axis=0))[used]


def whole_limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The least and the largest float64 that an integer type holds."""
    info = np.iinfo(dtype)
    high = float(info.max)
    return float(info.min), high if int(high) <= info.max else float(np.nextafter(high, 0))


def saturated(number: float, dtype: np.dtype[Any]) -> Any:
    """A number as an element: rounded half to even and limited where the type is whole, NaN as 0 then."""
    if dtype.kind == "f":
        return dtype.type(number)
    low, high = whole_limits(dtype)
    return dtype.type(0 if np.isnan(number) else np.clip(np.rint(number), low, high))
