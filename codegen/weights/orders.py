"""Which axes of a tensor are filters, channels and taps, wherever they lie in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from .codec import Shape, require

MOST_AXES = 6
FILTER, CHANNEL, DOWN, ACROSS = range(4)
_LARGEST_TAP = 11
"""Taps along an axis of a kernel, at most, where others do not say it better."""


@dataclass(frozen=True)
class Order:
    """What each axis of a tensor stands for; those of a kind are gone through as they lie."""

    shape: Shape
    kinds: tuple[int, ...]

    def written(self, number: int = 0) -> bytes:
        """As `rt_read_order` reads it, and a number of two bits."""
        square = (
            len(self.shape) > 2 and self.kinds[-2:] == (DOWN, ACROSS) and self.shape[-1] == self.shape[-2]
        )
        first = len(self.shape) | square << 3 | self.kinds[0] << 4 | number << 6
        told = slice(1, len(self.shape) - square)
        axes = [_axis(kind, extent) for extent, kind in zip(self.shape[told], self.kinds[told], strict=True)]
        return bytes([first]) + b"".join(axes)

    def axes(self, *kinds: int) -> list[int]:
        """The axes of these kinds, as they lie, those of the first kind first."""
        return [axis for kind in kinds for axis, own in enumerate(self.kinds) if own == kind]


def read_order(data: bytes, count: int) -> tuple[Order, int]:
    """The order that a stream of `count` bytes begins with, and its length; StreamError where it is none."""
    require(len(data) > 0 and 0 < data[0] & 7 <= MOST_AXES, "its axes are wrong")
    at, kinds, extents = 1, [data[0] >> 4 & 3], [0]
    square = data[0] >> 3 & 1
    for _ in range((data[0] & 7) - 1 - square):
        require(at < len(data), "an axis is missing")
        kinds.append(data[at] & 3)
        extent, shift = data[at] >> 2 & 31, 5
        while data[at] & 128:
            at += 1
            require(at < len(data) and shift <= 19, "an axis is too long")
            extent |= (data[at] & 127) << shift
            shift += 7
        require(extent > 0, "an axis is empty")
        extents.append(extent)
        at += 1
    if square:
        require(len(kinds) > 1 and kinds[-1] == DOWN, "its taps are no kernel")
        kinds.append(ACROSS)
        extents.append(extents[-1])
    inner = math.prod(extents[1:])
    require(0 < count < 1 << 32 and count % inner == 0, "its axes do not divide it")
    require(all(kinds.count(kind) < 2 for kind in (DOWN, ACROSS)), "its taps are no kernel")
    return Order((count // inner, *extents[1:]), tuple(kinds)), at


def _axis(kind: int, extent: int) -> bytes:
    """Two bits and five of the extent, then seven a byte; the highest bit says that more follow."""
    parts, rest = [kind | (extent & 31) << 2], extent >> 5
    while rest:
        parts[-1] |= 128
        parts.append(rest & 127)
        rest >>= 7
    return bytes(parts)


def orders(shape: Shape, longest: int = 0) -> Iterator[Order]:
    """The ways to go through a tensor: which axes are taps, and of the others which are filters.

    Where no two axes are a kernel, also with any other axis of up to `longest` as taps.
    """
    shape = tuple(extent for extent in shape if extent > 1) or (1,)
    for taps in taps_of(shape, longest):
        others = [axis for axis in range(len(shape)) if axis not in taps]
        for kinds in product((FILTER, CHANNEL), repeat=len(others)):
            if len(set(kinds)) == min(len(others), 2):
                known = dict(zip(others, kinds, strict=True)) | taps
                yield Order(shape, tuple(known[axis] for axis in range(len(shape))))


def taps_of(shape: Shape, longest: int = 0) -> list[dict[int, int]]:
    """Two axes side by side that are small, or one that is, or is no longer than that, or none."""
    small = [axis for axis, extent in enumerate(shape) if extent <= _LARGEST_TAP]
    pairs = [{axis: DOWN, axis + 1: ACROSS} for axis in small if axis + 1 in small]
    ones = [axis for axis, extent in enumerate(shape) if extent <= max(longest, _LARGEST_TAP)]
    return [*(pairs or [{axis: ACROSS} for axis in ones]), {}]
