"""Max and average pooling over any number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import numpy as np

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, load, opaque, prim_func, splat, store
from ...vector.loops import Expr, Tasks, dot, nest_tasks, row_major_strides, task_nest
from ...vector.numeric import convert, extreme, lanes_for
from ...vector.shuffles import hold
from ...vector.windows import Axis, Tile, each_tile, innermost_taps, tap_loop
from ..generic import (
    BLOCKED,
    FLOATS,
    Generic,
    block_refusal,
    same_layouts,
    storage,
    target_block,
    type_after,
    with_half,
)
from ..operator import Combination

TILE = 4  # positions of a blocked row at once
_WIDE_TILE = 8  # where registers hold the columns of as many windows
_MANY_REGISTERS = 32
_FEW_TAPS = 9  # of a window that is written out


@dataclass(frozen=True)
class PoolSpec:
    """Windows over `images` planes (batch x channels, or batch x blocks of `block` channels)."""

    kind: str  # "max" or "average"
    images: int
    axes: tuple[Axis, ...]
    dtype: str
    block: int = 0
    count_padding: bool = False
    tile: int = TILE

    @property
    def shares(self) -> bool:
        """Whether the largest of each column is found first, where windows side by side share columns."""
        wide, taps = self.axes[-1].kernel > self.axes[-1].stride, math.prod(a.kernel for a in self.axes)
        return self.kind == "max" and bool(self.block) and wide and not self.packed and taps <= _FEW_TAPS

    @property
    def unit(self) -> int:
        """Elements of one position."""
        return self.block or 1

    @property
    def packed(self) -> bool:
        """Whether a register holds all positions of a tile, which lie side by side in every tap."""
        small = np.dtype(self.dtype).itemsize == 1 and self.kind == "max"
        return bool(self.block) and small and self.axes[-1].stride == 1

    @property
    def computed(self) -> str:
        """The type it is computed in."""
        exact = self.block and self.kind == "max"
        return "float32" if self.dtype == "float16" and not exact else self.dtype


def window_axes(op: Operator) -> tuple[Axis, ...]:
    """The spatial axes of a pool."""
    size, out = op.operands[0].type.shape[2:], type_after(op).shape[2:]
    n, pads = len(size), op["pads"]
    return tuple(
        Axis(size[i], out[i], op["kernel"][i], op["strides"][i], pads[i], op["dilations"][i], pads[n + i])
        for i in range(n)
    )


def taps_for_input(op: Operator) -> float:
    """How often an input element is read."""
    reads = float(math.prod(op["kernel"])) * type_after(op).elements
    return reads / max(1, op.operands[0].type.elements)


class Pool(Generic):
    """Row-major, any rank and element type: a vector holds neighbouring positions of the innermost axis."""

    name = "pool"
    operators: tuple[str, ...] = ("max_pool", "average_pool")

    def spec(self, op: Operator, block: int) -> PoolSpec:
        x = op.operands[0].type
        channels = -(-x.shape[1] // block) if block else x.shape[1]
        kind = op.name.split(".", 1)[1].removesuffix("_pool")
        counted = kind == "average" and op["count_include_pad"]
        return PoolSpec(kind, x.shape[0] * channels, window_axes(op), storage(x.dtype), block, counted)

    def on(self, op: Operator, target: Target) -> PoolSpec:
        """The specification for a target."""
        spec = self.spec(op, type_after(op).layout.block)
        many = spec.shares and target.isa.vector_registers >= _MANY_REGISTERS
        return replace(spec, tile=_WIDE_TILE) if many else spec

    def vector_cost(self, op: Operator) -> float:
        """Each tap is a load for each vector of results; a stride makes it one for each element."""
        load = 2.0 if op["strides"][-1] == 1 else 14.0
        return load * taps_for_input(op)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.on(op, target)
        lanes = spec.block or lanes_for((spec.dtype,), target.lanes)
        return Kernel(op.name.split(".", 1)[1], spec, partial(_build, spec, lanes), pool_tasks(spec).count)


class BlockedPool(Pool):
    """By blocks of channels: a vector holds the channels of one position. Averages are of float32 only."""

    name = "pool_blocked"

    def applicable(self, op: Operator, target: Target) -> str | None:
        return block_refusal(op, with_half(BLOCKED if op.name.endswith("max_pool") else FLOATS, target))

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return (same_layouts(op, target_block(target, type_after(op).dtype)),)

    def vector_cost(self, op: Operator) -> float:
        return 1.0 + 0.5 * taps_for_input(op)


def pool_tasks(spec: PoolSpec) -> Tasks:
    return nest_tasks(_rows(spec), _row_bytes(spec))


def _rows(spec: PoolSpec) -> tuple[int, ...]:
    return (spec.images, *(a.out for a in spec.axes[:-1]))


def _row_bytes(spec: PoolSpec) -> float:
    return 4.0 * spec.unit * spec.axes[-1].out * math.prod(a.kernel for a in spec.axes)


def _build(spec: PoolSpec, lanes: int) -> Any:
    return prim_func([("x", spec.dtype), ("result", spec.dtype)], PoolBody(spec, lanes))


class PoolBody:
    """Emits the loops of a pool: rows of the result as tasks, tiles along the row."""

    def __init__(self, spec: PoolSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes
        sizes, outs = (tuple(getattr(a, n) for a in spec.axes) for n in ("size", "out"))
        self.source = [s * spec.unit for s in row_major_strides((spec.images, *sizes))]
        self.target = [s * spec.unit for s in row_major_strides((spec.images, *outs))]

    def __call__(self, x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        self.x, self.result = x, result
        if not (self.spec.images and all(a.out and a.size for a in self.spec.axes)):
            T.evaluate(0)
            return
        with task_nest(_rows(self.spec), _row_bytes(self.spec), begin, end) as index:
            outer = zip(self.spec.axes[:-1], index[1:], strict=True)
            inside = [
                T.And(i >= a.interior[0], i < a.interior[1]) for a, i in outer if a.interior != (0, a.out)
            ]
            if not self.spec.shares or not inside:
                self._row(index, self._shared if self.spec.shares else self._tile)
                return
            with T.If(reduce(T.And, inside)):
                with T.Then():
                    self._row(index, self._shared)
                with T.Else():
                    self._row(index, self._tile)

    def _row(self, index: list[Expr], body: Callable[[list[Expr], Tile], None]) -> None:
        """Tile by tile."""
        width = self.spec.tile if self.spec.block else self.lanes
        each_tile(self.spec.axes[-1], width, lambda tile: body(index, tile))

    def _shared(self, index: list[Expr], tile: Tile) -> None:
        """A tile of maxima whose windows lie inside, by those of columns."""
        if not tile.inside:
            self._tile(index, tile)
            return
        axis, unit = self.spec.axes[-1], self.spec.unit
        self.width = unit
        totals = Registers(tile.count, unit, self.spec.computed)
        lines = [opaque(line + axis.origin(tile.start) * unit) for line in self._lines(index)]
        seen = set[int]()
        for column in range((tile.count - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1):
            windows = [r for r in range(tile.count) if self._sees(r, column)]
            if windows:
                values = (self._load(line + column * unit) for line in lines)
                largest = hold(reduce(self._combine, values), unit, self.spec.computed)
                for r in windows:
                    totals[r] = self._combine(totals[r], largest) if r in seen else largest
                seen.update(windows)
        start, finish = self.place(index) + tile.start * unit, self.finish(index, tile)
        for r in range(tile.count):
            self.put(index, start + r * unit, finish(totals[r], start + r * unit))

    def _sees(self, window: int, column: int) -> bool:
        axis = self.spec.axes[-1]
        tap, between = divmod(column - window * axis.stride, axis.dilation)
        return between == 0 and 0 <= tap < axis.kernel

    def _lines(self, index: list[Expr]) -> list[Expr]:
        """Where each line of taps begins, those of all axes but the innermost."""
        axes, positions = self.spec.axes[:-1], index[1:]

        def line(taps: tuple[int, ...]) -> Expr:
            places = [a.origin(i) + t * a.dilation for a, i, t in zip(axes, positions, taps, strict=True)]
            return dot([index[0], *places], self.source[:-1])

        return [line(taps) for taps in np.ndindex(*(a.kernel for a in axes))]

    def _tile(self, index: list[Expr], tile: Tile) -> None:
        """Blocked: `tile.count` registers of channels, or one of all. Row-major: one of as many positions."""
        spec = self.spec
        registers = tile.count if spec.block and not spec.packed else 1
        self.width = tile.count * spec.unit // registers
        totals = Registers(registers, self.width, spec.computed)
        totals.fill(self._start())
        self._outer_taps(index, tile, totals)
        start, finish = self.place(index) + tile.start * spec.unit, self.finish(index, tile)
        for r in range(registers):
            at = start + r * spec.unit
            self.put(index, at, finish(totals[r], at))

    def place(self, index: list[Expr]) -> Expr:
        """Where a row of the result lies."""
        return dot(index, self.target[:-1])

    def put(self, index: list[Expr], at: Expr, value: Expr) -> None:
        store(self.result, at, value, self.width)

    def finish(self, index: list[Expr], tile: Tile) -> Callable[[Expr, Expr], Expr]:
        """What to store for a register of a tile and its offset in the result."""
        scale = self._scale(index, tile)

        def finished(total: Expr, _at: Expr) -> Expr:
            value = total if scale is None else total * scale
            return convert(value, self.spec.computed, self.spec.dtype, self.width)

        return finished

    def _start(self) -> float:
        if self.spec.kind == "average":
            return 0.0 if self.spec.computed.startswith("float") else 0
        if self.spec.computed.startswith("float"):
            return -math.inf
        return int(np.iinfo(self.spec.computed).min)

    def _outer_taps(self, index: list[Expr], tile: Tile, totals: Any) -> None:
        """Loops over the taps of all axes but the innermost; rows outside the input are skipped."""
        outer = self.spec.axes[:-1]
        with ExitStack() as stack:
            taps = [stack.enter_context(tap_loop(a.taps(i))) for a, i in zip(outer, index[1:], strict=True)]
            places = [a.origin(i) + t * a.dilation for a, i, t in zip(outer, index[1:], taps, strict=True)]
            base = dot([index[0], *places], self.source[:-1])
            innermost_taps(self.spec.axes[-1], tile, lambda tap: self._tap(base, tile, tap, totals))

    def _tap(self, base: Expr, tile: Tile, tap: Expr, totals: Any) -> None:
        axis, unit = self.spec.axes[-1], self.spec.unit
        start = base + (axis.origin(tile.start) + tap * axis.dilation) * unit
        for r in range(totals.count):
            totals[r] = self._combine(totals[r], self._load(start + r * axis.stride * unit))

    def _load(self, at: Expr) -> Expr:
        stride = self.spec.axes[-1].stride
        if stride == 1 or self.width == 1 or self.spec.block:
            value = load(self.x, at, self.width)
        else:
            value = self.x[T.Ramp(at, stride, self.width)]
        return convert(value, self.spec.dtype, self.spec.computed, self.width)

    def _combine(self, total: Expr, value: Expr) -> Expr:
        """The sum, or the larger of the two."""
        if self.spec.kind != "max":
            return total + value
        return extreme("max", total, value, self.spec.computed, self.width)

    def _scale(self, index: list[Expr], tile: Tile) -> Expr | None:
        """One over the number of elements under the window; None for a maximum."""
        if self.spec.kind == "max":
            return None
        count = self.elements(index, tile, self.spec.count_padding)
        known = isinstance(count, int)
        scale = T.Cast(self.spec.computed, count) if not known else splat(float(count), 1, self.spec.computed)
        one = splat(1.0, 1, self.spec.computed)
        return splat(one / scale, self.width, self.spec.computed)

    def elements(self, index: list[Expr], tile: Tile, padding: bool) -> Expr:
        """How many elements a window has: those of the input, or of its padding too."""
        positions = [*index[1:], tile.start]
        count: Expr = 1
        for axis, position in zip(self.spec.axes, positions, strict=True):
            inside = tile.inside and axis is self.spec.axes[-1]
            count = count * self._counted(axis, position, inside, padding)
        return count

    def _counted(self, axis: Axis, position: Expr, inside: bool, padding: bool) -> Expr:
        if inside or axis.interior == (0, axis.out):
            return axis.kernel
        if padding:
            return axis.padded_taps(position)
        low, high = axis.taps(position)
        return high - low


PRIMITIVES = (BlockedPool(), Pool())
