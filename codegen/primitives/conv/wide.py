"""Kernels of many columns: the taps of a row in loops whose bounds follow from the output column.

Written out one by one, taps take code in proportion to their number, and again for
every tile at a border, where other taps lie inside the image. Here a tile inside has one
loop over all taps. One at a border, which is small, has one over the taps that all its
pixels see, and for each pixel one before and one after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...tir import T, when
from ...vector.shuffles import hold
from ..specs import ConvSpec
from .plan import Run

Expr = Any
Bounds = tuple[Expr, Expr]  # of taps: the first, and the last + 1; none where they cross
Body = Callable[[Expr, range], None]  # takes a tap and the pixels of the tile for which it is valid


def column_bounds(spec: ConvSpec, column: Expr) -> Bounds:
    """The kernel columns inside the image at output column `column`."""
    step, pad, taps = spec.dilations[1], spec.pads[1], spec.kernel[1]
    before = pad - column * spec.strides[1]
    low, high = ((n if step == 1 else (n + (step - 1)) // step) for n in (before, before + spec.width))
    return T.max(0, low), T.min(taps, high)


def inside(spec: ConvSpec, run: Run, column: Expr, pixel: int) -> tuple[Any, ...]:
    """What a sum's start must know of the kernel columns inside the image: these, or the bounds of many."""
    if run.whole:
        return T.int32(0), T.int32(spec.kernel[1])
    if spec.wide:
        return column_bounds(spec, column + pixel)
    return tuple(kw for kw, first, last in run.taps if first <= pixel < last)


def row_taps(spec: ConvSpec, run: Run, column: Expr, body: Body) -> None:
    """`body` for the taps of one kernel row that a tile at `column` sees."""
    if run.whole:
        loop((0, spec.kernel[1]), body, range(run.size))
        return
    if spec.wide:
        each_tap([column_bounds(spec, column + r) for r in range(run.size)], body)
        return
    for kw, first, last in run.taps:
        body(kw, range(first, last))


def each_tap(bounds: Sequence[Bounds], body: Body) -> None:
    """Loops over the taps of each pixel, in rising order; those of all pixels are one loop.

    Both ends of the bounds rise, or both fall, from pixel to pixel.
    """
    pixels = range(len(bounds))
    if len(bounds) == 1:
        loop(bounds[0], body, pixels)
        return
    (first, end), (last, last_end) = bounds[0], bounds[-1]
    low = hold(T.max(first, last), 1, "int32")
    high = hold(T.max(low, T.min(end, last_end)), 1, "int32")
    with when(T.min(first, last) < low):
        for r in pixels:
            loop((bounds[r][0], T.min(low, bounds[r][1])), body, range(r, r + 1))
    loop((low, high), body, pixels)
    with when(T.max(end, last_end) > high):
        for r in pixels:
            loop((T.max(high, bounds[r][0]), bounds[r][1]), body, range(r, r + 1))


def loop(bounds: Bounds, body: Body, pixels: range) -> None:
    """A loop over taps that are valid for all of some pixels."""
    with T.serial(*bounds) as tap:
        body(tap, pixels)
