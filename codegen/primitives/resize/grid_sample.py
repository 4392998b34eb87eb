"""Sampling by a grid of coordinates: for each position indices and weights once, then every channel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.ops.movement import GRID_CUBIC as CUBIC

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, prim_func, splat, store
from ...vector.loops import Expr, loops, nest_tasks, row_major_strides, task_nest
from ...vector.numeric import Numeric, convert
from ...vector.shuffles import hold
from ..elementwise.elementwise import argument_order
from ..generic import Generic, storage
from ..operator import Primitive

TAPS = {"nearest": 1, "linear": 2, "cubic": 4}  # along each axis


@dataclass(frozen=True)
class GridSpec:
    """`channels` planes of `sizes` read at `positions` of each of `images`; `places` are the pointers."""

    images: int
    channels: int
    sizes: tuple[int, ...]
    positions: int
    mode: str
    padding: str
    align_corners: bool
    dtype: str
    grid: str
    places: tuple[int, ...]

    @property
    def computed(self) -> str:
        return "float64" if "float64" in (self.dtype, self.grid) else "float32"

    @property
    def taps(self) -> int:
        """Elements that a result is made of."""
        return int(TAPS[self.mode] ** len(self.sizes))

    def limits(self, axis: int) -> tuple[float, float]:
        """What -1 and 1 stand for."""
        size = self.sizes[axis]
        return (0.0, size - 1.0) if self.align_corners else (-0.5, size - 0.5)

    @property
    def row_bytes(self) -> float:
        return 4.0 * self.channels * (self.taps + 1)


class GridSample(Generic):
    """Row-major."""

    name = "grid_sample"
    operators = ("grid_sample",)

    def spec(self, op: Operator) -> GridSpec:
        x, grid = (v.type for v in op.operands)
        order = argument_order(op)
        return GridSpec(
            x.shape[0], x.shape[1], x.shape[2:], math.prod(grid.shape[1:-1]), op["mode"], op["padding"],
            op["align_corners"], storage(x.dtype), storage(grid.dtype), (order.index(0), order.index(1)),
        )  # fmt: skip

    def vector_cost(self, op: Operator) -> float:
        """Elements are read one by one."""
        return 8.0 * self.spec(op).taps

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        tasks = nest_tasks((spec.images, spec.positions), spec.row_bytes)
        return Kernel("grid_sample", spec, partial(_build, spec), tasks.count)


def _build(spec: GridSpec) -> Any:
    types = {spec.places[0]: spec.dtype, spec.places[1]: spec.grid}
    return prim_func([*((f"x{i}", types[i]) for i in range(2)), ("result", spec.dtype)], _Body(spec))


class _Body:
    """Emits the loops over positions; coordinates and weights are in the type of sums."""

    def __init__(self, spec: GridSpec) -> None:
        self.spec, self.numeric = spec, Numeric(spec.computed, 1)

    def __call__(self, *arguments: Any) -> None:
        *inputs, self.result, _, begin, end = arguments
        self.x, self.grid = (inputs[p] for p in self.spec.places)
        spec = self.spec
        if not spec.images * spec.positions * spec.channels:
            T.evaluate(0)
            return
        with task_nest((spec.images, spec.positions), spec.row_bytes, begin, end) as index:
            self._position(index[0], index[1])

    def _position(self, image: Expr, position: Expr) -> None:
        spec, rank = self.spec, len(self.spec.sizes)
        at = (image * spec.positions + position) * rank
        axes = [self._axis(i, self._read(self.grid, at + (rank - 1 - i), spec.grid)) for i in range(rank)]
        offsets, weights = self._combined(axes)
        plane = math.prod(spec.sizes)
        with loops((spec.channels,)) as (channel,):
            row = image * spec.channels + channel
            total: Expr = self._const(0.0)
            for i in range(spec.taps):
                value = self._read(self.x, row * plane + offsets[i], spec.dtype)
                total = total + self._where(
                    weights[i] == self._const(0.0), self._const(0.0), value * weights[i]
                )
            self._store(row * spec.positions + position, total)

    def _combined(self, axes: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        """Offsets in a plane and products of weights, of every combination of the axes' taps."""
        spec = self.spec
        offsets, weights = Registers(spec.taps, 1, "int32"), Registers(spec.taps, 1, spec.computed)
        strides, each = row_major_strides(spec.sizes), range(TAPS[spec.mode])
        for number, taps in enumerate(product(each, repeat=len(axes))):
            offset, weight = axes[0][0][taps[0]] * strides[0], axes[0][1][taps[0]]
            for axis, tap in list(enumerate(taps))[1:]:
                offset = offset + axes[axis][0][tap] * strides[axis]
                weight = weight * axes[axis][1][tap]
            offsets[number], weights[number] = offset, weight
        return offsets, weights

    def _axis(self, axis: int, place: Expr) -> tuple[Any, Any]:
        """Indices inside the image and weights, 0 for what lies outside, of the taps along an axis."""
        spec, size, taps = self.spec, self.spec.sizes[axis], TAPS[self.spec.mode]
        x = self._coordinate(axis, place)
        first = self._hold(self.numeric.unary("floor", x))
        indices, weights = Registers(taps, 1, "int32"), Registers(taps, 1, spec.computed)
        for number, weight in enumerate(self._weights(self._hold(x - first))):
            wanted = self._hold(first + self._const(float(number - (spec.mode == "cubic"))))
            inside = self._hold(self._padded(axis, wanted))
            valid = (inside > self._const(-1.0)) & (inside < self._const(float(size)))
            indices[number] = T.max(0, T.min(size - 1, self.numeric.unary("round", inside).astype("int32")))
            weights[number] = self._where(valid, weight, self._const(0.0))
        return indices, weights

    def _coordinate(self, axis: int, place: Expr) -> Expr:
        """Where the grid points to, not further outside than the taps reach; what is no number is outside."""
        low, high = self.spec.limits(axis)
        one, half = self._const(1.0), self._const((high - low) / 2)
        x = self._hold(self._const(low) + (place + one) * half)
        if self.spec.mode == "nearest":
            x = self._hold(self.numeric.unary("round", x))
        if (self.spec.mode, self.spec.padding) != ("cubic", "border"):  # of which each tap is by itself
            x = self._hold(self._padded(axis, x))
        least, most = self._const(-4.0), self._const(self.spec.sizes[axis] + 4.0)
        x = self._hold(self._where(x > least, x, least))
        return self._hold(self._where(x < most, x, most))

    def _padded(self, axis: int, x: Expr) -> Expr:
        """Brought inside, where the padding says how."""
        if self.spec.padding == "zeros":
            return x
        if self.spec.padding == "reflection":
            return self._reflected(x, *self.spec.limits(axis))
        low, high = self._const(0.0), self._const(self.spec.sizes[axis] - 1.0)
        x = self._hold(self._where(x < low, low, x))
        return self._where(x > high, high, x)

    def _reflected(self, x: Expr, low: float, high: float) -> Expr:
        """Within a period of twice the width, the nearer way to its ends."""
        if high == low:
            return self._const(low)
        period, start = self._const(2 * (high - low)), self._const(low)
        past = self._hold(x - start)
        turns = self._hold(self.numeric.unary("floor", past / period))
        place = self._hold(past - turns * period)
        back = self._hold(period - place)
        return start + self._where(place < back, place, back)

    def _weights(self, t: Expr) -> list[Expr]:
        """Of the taps around a place `t` past the middle one (of two: the first)."""
        one = self._const(1.0)
        if self.spec.mode == "nearest":
            return [one]
        rest = self._hold(one - t)
        if self.spec.mode == "linear":
            return [rest, t]
        return [
            self._far(self._hold(one + t)),
            self._near(t),
            self._near(rest),
            self._far(self._hold(one + rest)),
        ]

    def _near(self, d: Expr) -> Expr:
        return ((self._const(CUBIC + 2) * d - self._const(CUBIC + 3)) * d) * d + self._const(1.0)

    def _far(self, d: Expr) -> Expr:
        inner = (self._const(CUBIC) * d - self._const(5 * CUBIC)) * d + self._const(8 * CUBIC)
        return inner * d - self._const(4 * CUBIC)

    # Scalars

    def _const(self, value: float) -> Expr:
        return splat(value, 1, self.spec.computed)

    def _hold(self, value: Expr) -> Expr:
        return hold(value, 1, self.spec.computed)

    def _where(self, condition: Expr, yes: Expr, no: Expr) -> Expr:
        return T.Select(condition, yes, no)

    def _read(self, buffer: Any, at: Expr, dtype: str) -> Expr:
        return convert(buffer[at], dtype, self.spec.computed, 1)

    def _store(self, at: Expr, value: Expr) -> None:
        store(self.result, at, convert(value, self.spec.computed, self.spec.dtype, 1), 1)


PRIMITIVES: tuple[Primitive, ...] = (GridSample(),)
