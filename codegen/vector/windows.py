"""Sliding windows over row-major and channel-blocked tensors: loops that pools and plain convolutions share.

A spatial axis of input extent `size` under a window of `kernel` taps: output
position o reads o * stride - pad + tap * dilation. Along the innermost axis the
positions split into a border, where some taps fall outside, and an interior,
where none do and whole tiles of positions are computed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..tir import T
from .loops import Expr


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a window."""

    size: int
    out: int
    kernel: int
    stride: int = 1
    pad: int = 0
    dilation: int = 1
    pad_end: int = 0

    @property
    def interior(self) -> tuple[int, int]:
        """Output positions [first, last) whose taps all fall inside; first == last where there are none."""
        first = min(self.out, -(-self.pad // self.stride))
        room = self.size - 1 + self.pad - (self.kernel - 1) * self.dilation
        last = min(self.out, room // self.stride + 1) if room >= 0 else 0
        return (first, last) if last > first else (0, 0)

    def origin(self, position: Expr) -> Expr:
        """Input position of tap 0."""
        scaled = position * self.stride if self.stride != 1 else position
        return scaled - self.pad if self.pad else scaled

    def taps(self, position: Expr) -> tuple[Expr, Expr]:
        """Range of the taps inside the input, as expressions."""
        start = self.origin(position)
        if self.interior == (0, self.out):
            return 0, self.kernel
        if isinstance(start, int):
            return self._known_taps(start)
        below, room = self._steps(-start), self._steps(self.size - start)
        return T.max(0, below), T.min(self.kernel, room)

    def _known_taps(self, start: int) -> tuple[int, int]:
        inside = [k for k in range(self.kernel) if 0 <= start + k * self.dilation < self.size]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    def _steps(self, span: Expr) -> Expr:
        """`span` in steps of the dilation, rounded up."""
        return span if self.dilation == 1 else (span + (self.dilation - 1)) // self.dilation

    def padded_taps(self, position: Expr) -> Expr:
        """How many taps fall inside the input or its padding."""
        room = self._steps(self.size + self.pad + self.pad_end - position * self.stride)
        return min(self.kernel, room) if isinstance(room, int) else T.min(self.kernel, room)


Range = tuple[Expr, Expr]
_UNROLLED = 8  # taps at most


def tap_loop(bounds: Range) -> AbstractContextManager[Expr]:
    """A serial loop over taps."""
    loop: AbstractContextManager[Expr] = T.serial(*bounds)
    return loop


@dataclass(frozen=True)
class Tile:
    """Outputs computed at once: `count` positions from `start` on; `inside` where no tap can fall outside."""

    start: Expr
    count: int
    inside: bool


def each_tile(axis: Axis, width: int, body: Callable[[Tile], None]) -> None:
    """Covers the output positions: borders one by one, the interior in tiles of `width`."""
    first, last = axis.interior
    _borders(0, first, body)
    whole = (last - first) // width
    if whole:
        _interior(first, whole, width, body)
    if (last - first) % width:
        body(Tile(first + whole * width, (last - first) % width, True))
    _borders(last, axis.out, body)


def _interior(first: int, whole: int, width: int, body: Callable[[Tile], None]) -> None:
    if whole == 1:
        body(Tile(first, width, True))
        return
    with T.serial(0, whole) as i:
        body(Tile(first + i * width, width, True))


def _borders(start: int, stop: int, body: Callable[[Tile], None]) -> None:
    """A few border positions are known numbers; many are a loop."""
    if stop - start <= 2:
        for position in range(start, stop):
            body(Tile(position, 1, False))
        return
    with T.serial(start, stop) as position:
        body(Tile(position, 1, False))


def innermost_taps(axis: Axis, tile: Tile, body: Callable[[Any], None]) -> None:
    """`body(tap)` for the taps of the innermost axis that a tile reads; few are unrolled."""
    bounds: Range = (0, axis.kernel) if tile.inside else axis.taps(tile.start)
    if all(isinstance(b, int) for b in bounds) and bounds[1] - bounds[0] <= _UNROLLED:
        for tap in range(*bounds):
            body(tap)
        return
    with tap_loop(bounds) as tap:
        body(tap)
