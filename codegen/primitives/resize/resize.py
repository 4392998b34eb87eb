"""Resize: every axis that changes reads a few positions with weights from tables made at compile time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.resampling import saturated, whole_limits

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, splat, store, view
from ...vector.loops import Expr, dot, each_vector, loops, nest_tasks, row_major_strides, task_nest
from ...vector.numeric import convert, lanes_for
from ...vector.shuffles import hold
from ..generic import (
    BLOCKED,
    FLOATS,
    Generic,
    block_refusal,
    is_constant,
    same_layouts,
    storage,
    target_block,
    type_after,
    with_half,
)
from ..operator import Array, Combination, constant_of
from .tables import AxisTable, axis_table

_HALVES = 2.0**52  # float64 from here on have no fractions


@dataclass(frozen=True)
class ResizedAxis:
    """Extents before and after; `taps` is 0 where the axis stays as it is."""

    size: int
    out: int
    taps: int = 0


@dataclass(frozen=True)
class ResizeSpec:
    """`unit` elements lie together at each position and stay together.

    Pointers after x are, for each axis with taps, its index table (int32) and its weight
    table (none where `nearest`), then its table of what lies inside (where `crop`). Tables
    are (out, taps); that of an innermost axis of unit 1 is (taps, out).
    """

    axes: tuple[ResizedAxis, ...]
    unit: int
    dtype: str
    nearest: bool
    crop: bool = False
    extrapolation: float = 0.0

    @cached_property
    def computed(self) -> str:
        if self.nearest:
            return self.dtype
        return "float32" if self.dtype in ("float16", "float32") else "float64"

    @property
    def along(self) -> bool:
        """Whether vectors lie along a resized axis."""
        return self.unit == 1 and self.axes[-1].taps > 0

    @property
    def gathers(self) -> bool:
        """Whether rows are combined in the workspace before the innermost axis is resized."""
        return self.along and not self.nearest and any(a.taps for a in self.axes[:-1])


class Resize(Generic):
    """Any rank, mode and element type, row-major."""

    name = "resize"
    operators = ("resize",)
    cost = 24.0

    def tables(self, op: Operator) -> list[AxisTable]:
        return [axis_table(op, a) for a in range(op.operands[0].type.rank)]

    def spec(self, op: Operator) -> ResizeSpec:
        type, block = type_after(op), type_after(op).layout.block
        axes = [ResizedAxis(t.size, t.out, 0 if t.identity else t.taps) for t in self.tables(op)]
        if block:
            blocks = -(-type.shape[1] // block)
            axes[1] = ResizedAxis(blocks, blocks)
        merged, unit = _merged(axes, block or 1)
        crop = op["coordinates"] == "tf_crop_and_resize"
        return ResizeSpec(
            merged, unit, storage(type.dtype), op["mode"] == "nearest", crop, op["extrapolation"]
        )

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        spec, arrays = self.spec(op), []
        changed = [t for t in self.tables(op) if not t.identity]
        x = constant_of(op.operands[0])
        for i, table in enumerate(changed):
            turned = spec.along and i == len(changed) - 1
            arrays += [_turned(a, turned) for a in _axis_arrays(spec, table)]
        return tuple(arrays) if x is None else (np.ascontiguousarray(x), *arrays)

    def workspace(self, op: Operator, target: Target) -> int:
        return 8 * op.operands[0].type.shape[-1] if op.operands[0].type.rank else 0

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        lanes = lanes_for((spec.dtype, spec.computed), target.lanes)
        tasks = nest_tasks(_rows(spec), _row_bytes(spec))
        workspace = self.workspace(op, target) if spec.gathers else 0
        return Kernel("resize", spec, partial(_build, spec, lanes), tasks.count, workspace)


class BlockedResize(Resize):
    """By blocks of channels where only spatial axes change; bytes are copied, never mixed."""

    name = "resize_blocked"
    cost = 4.0

    def applicable(self, op: Operator, target: Target) -> str | None:
        refused = block_refusal(op, with_half(BLOCKED, target) if op["mode"] == "nearest" else FLOATS)
        if refused or is_constant(op, 0):
            return refused or "a constant operand"
        if not all(axis_table(op, a).identity for a in (0, 1)):
            return "images or channels are resized"
        exact = op["coordinates"] != "tf_crop_and_resize" or op["extrapolation"] == 0.0
        return None if exact else "padding lanes would not stay zero"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return (same_layouts(op, target_block(target, type_after(op).dtype)),)


def _turned(array: Array, turned: bool) -> Array:
    return np.ascontiguousarray(array.T if turned else array)


def _axis_arrays(spec: ResizeSpec, table: AxisTable) -> list[Array]:
    weights = [] if spec.nearest else [table.weight.astype(spec.computed)]
    inside = [table.inside.astype(np.uint8)] if spec.crop else []
    return [table.index, *weights, *inside]


def _merged(axes: Sequence[ResizedAxis], unit: int) -> tuple[tuple[ResizedAxis, ...], int]:
    """Neighbouring axes that stay are one; trailing ones join the unit."""
    merged: list[ResizedAxis] = []
    for axis in axes:
        if merged and not axis.taps and not merged[-1].taps:
            merged[-1] = ResizedAxis(merged[-1].size * axis.size, merged[-1].out * axis.out)
        else:
            merged.append(axis)
    if merged and not merged[-1].taps:
        unit *= merged.pop().out
    return tuple(merged) or (ResizedAxis(1, 1),), unit


def _rows(spec: ResizeSpec) -> tuple[int, ...]:
    outs = tuple(a.out for a in spec.axes)
    return outs[:-1] if spec.along else outs


def _row_bytes(spec: ResizeSpec) -> float:
    taps = math.prod(max(1, a.taps) for a in spec.axes)
    return 4.0 * spec.unit * taps * (spec.axes[-1].out if spec.along else 1) + 16


def _build(spec: ResizeSpec, lanes: int) -> Any:
    names = [("x", spec.dtype)]
    for i, axis in enumerate(spec.axes):
        if axis.taps:
            names.append((f"index{i}", "int32"))
            names += [] if spec.nearest else [(f"weight{i}", spec.computed)]
            names += [(f"inside{i}", "uint8")] if spec.crop else []
    return prim_func([*names, ("result", spec.dtype)], _Body(spec, lanes))


@dataclass(frozen=True, eq=False)
class _Tables:
    """One axis's buffers."""

    index: Any
    weight: Any = None
    inside: Any = None


class _Body:
    """Emits the loops over rows of the result."""

    def __init__(self, spec: ResizeSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes
        self.source = [s * spec.unit for s in row_major_strides([a.size for a in spec.axes])]
        self.target = [s * spec.unit for s in row_major_strides([a.out for a in spec.axes])]

    def __call__(self, x: Any, *arguments: Any) -> None:
        *buffers, self.result, workspace, begin, end = arguments
        spec, self.x = self.spec, x
        self.tables = self._distributed(buffers)
        self.row = workspace if spec.computed == "float32" else view(workspace, spec.computed)
        if not math.prod(a.out for a in spec.axes) * spec.unit:
            T.evaluate(0)
            return
        with task_nest(_rows(spec), _row_bytes(spec), begin, end) as index:
            if spec.along:
                self._along(index)
            else:
                self._together(index)

    def _distributed(self, buffers: list[Any]) -> list[_Tables | None]:
        rest = iter(buffers)
        return [
            _Tables(
                next(rest), None if self.spec.nearest else next(rest), next(rest) if self.spec.crop else None
            )
            if axis.taps
            else None
            for axis in self.spec.axes
        ]

    def _together(self, index: list[Expr]) -> None:
        """A unit is contiguous: vectors of it are summed over the taps of all axes."""
        at = dot(index, self.target)

        def body(start: Expr, width: int) -> None:
            value = self._sum(index, start, width)
            self._store(at + start, self._cropped(index, value, width), width)

        each_vector(self.spec.unit, self.lanes, body)

    def _sum(self, index: list[Expr], start: Expr, width: int) -> Expr:
        """The weighted sum over the taps of the axes that `index` spans."""
        return self._nested(index, [], start, width)

    def _nested(self, index: list[Expr], taps: list[Expr], start: Expr, width: int) -> Expr:
        """The sum over the axes before those whose `taps` are chosen: axis 0 first, as the interpreter does.

        Integers are rounded at the end, so the order of sums matters to the bit.
        """
        axis = len(index) - len(taps) - 1
        if axis < 0:
            return self._load(self._place(index, taps) + start, width)
        tables = self.tables[axis]
        if self.spec.nearest or tables is None:
            return self._nested(index, [0, *taps], start, width)
        total, count = Registers(1, width, self.spec.computed), self.spec.axes[axis].taps
        total.fill(0.0)
        with loops([count]) as (tap,):
            value = self._nested(index, [tap, *taps], start, width)
            weight = splat(tables.weight[index[axis] * count + tap], width, self.spec.computed)
            total[0] = total[0] + self._product(value, weight, width)
        return total[0]

    def _product(self, value: Expr, weight: Expr, width: int) -> Expr:
        """An element's share; of integers in a register of its own, for TIR would fuse it with the sum."""
        share = value * weight
        return share if self.spec.dtype.startswith("float") else hold(share, width, self.spec.computed)

    def _place(self, index: list[Expr], taps: Sequence[Expr]) -> Expr:
        """Where the taps read."""
        places = []
        for i, tap, axis, tables in zip(index, taps, self.spec.axes, self.tables, strict=False):
            places.append(i if tables is None else tables.index[i * axis.taps + tap])
        return dot(places, self.source[: len(places)])

    def _cropped(self, index: list[Expr], value: Expr, width: int) -> Expr:
        """The extrapolation value where some axis of `index` lies outside the input."""
        if not self.spec.crop:
            return value
        for i, tables in zip(index, self.tables, strict=False):
            if tables is not None:
                outside = tables.inside[i] == T.uint8(0)
                value = T.Select(
                    outside if width == 1 else T.Broadcast(outside, width), self._extrapolation(width), value
                )
        return value

    def _extrapolation(self, width: int) -> Expr:
        computed = np.dtype(self.spec.computed)
        value = saturated(self.spec.extrapolation, np.dtype(self.spec.dtype)).astype(computed)
        return splat(value.item(), width, self.spec.computed)

    def _along(self, index: list[Expr]) -> None:
        """The row is combined over the outer axes' taps, then read by the innermost axis's index table."""
        spec, axis = self.spec, self.spec.axes[-1]
        buffer, start = self.x, self._place(index, [0] * len(index))
        if spec.gathers:
            each_vector(axis.size, self.lanes, lambda i, w: store(self.row, i, self._sum(index, i, w), w))
            buffer, start = self.row, 0
        at = dot(index, self.target[:-1])

        def body(i: Expr, width: int) -> None:
            value = self._cropped(index, self._picked(buffer, start, i, width), width)
            self._store(at + i, self._cropped_along(i, value, width), width)

        each_vector(axis.out, self.lanes, body)

    def _picked(self, buffer: Any, start: Expr, i: Expr, width: int) -> Expr:
        """The sum over the innermost axis's taps of elements picked by its index table."""
        spec, axis, tables = self.spec, self.spec.axes[-1], self.tables[-1]
        assert tables is not None, "the innermost axis is resized"
        total = Registers(1, width, spec.computed)
        source = spec.computed if spec.gathers else spec.dtype

        def picked(tap: Expr) -> Expr:
            place = load(tables.index, tap * axis.out + i, width)
            place = place + (start if width == 1 else T.Broadcast(start, width))
            return convert(buffer[place], source, spec.computed, width)

        if spec.nearest:
            total[0] = picked(0)
            return total[0]
        total.fill(0.0)
        with loops([axis.taps]) as (tap,):
            weight = load(tables.weight, tap * axis.out + i, width)
            total[0] = total[0] + self._product(picked(tap), weight, width)
        return total[0]

    def _cropped_along(self, i: Expr, value: Expr, width: int) -> Expr:
        tables = self.tables[-1]
        if not self.spec.crop or tables is None:
            return value
        outside = load(tables.inside, i, width) == splat(0, width, "uint8")
        return T.Select(outside, self._extrapolation(width), value)

    def _load(self, at: Expr, width: int) -> Expr:
        return convert(load(self.x, at, width), self.spec.dtype, self.spec.computed, width)

    def _store(self, at: Expr, value: Expr, width: int) -> None:
        spec = self.spec
        if not spec.nearest and not spec.dtype.startswith("float"):
            value = _whole(value, np.dtype(spec.dtype))
        store(self.result, at, convert(value, spec.computed, spec.dtype, width), width)


def _whole(value: Expr, dtype: np.dtype[Any]) -> Expr:
    """A float64 limited to an integer type and rounded half to even, by an addition, as any core can."""
    low, high, zero, halves = (splat(v, 1, "float64") for v in (*whole_limits(dtype), 0.0, _HALVES))
    limited = hold(T.max(low, T.min(high, value)), 1, "float64")
    rounder = hold(T.Select(limited < zero, zero - halves, halves), 1, "float64")
    rounded = hold(limited + rounder, 1, "float64")  # in registers, or TIR would cancel the two
    rounded = hold(rounded - rounder, 1, "float64")
    return T.Select(T.max(limited, zero - limited) < halves, rounded, limited)


PRIMITIVES = (BlockedResize(), Resize())
