"""Plain convolutions of any rank and element type: what the fast kernels do not take."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, splat, store, view
from ...vector.loops import Expr, dot, each_vector, loops, nest_tasks, row_major_strides, task_nest
from ...vector.numeric import convert, lanes_for, multiply_add, start_value
from ...vector.windows import Axis, Tile, each_tile, innermost_taps, tap_loop
from ..generic import CALL_SECONDS, Generic, type_after
from ..generic_ending import Finish, FinishSpec, finish_spec, pointer_places
from ..operator import Primitive
from ..specs import seconds

_GATHERING = 0.04


@dataclass(frozen=True)
class NaiveSpec:
    """A convolution over any number of spatial axes; `places` are the operands' pointers."""

    images: int
    channels: int
    filters: int
    groups: int
    axes: tuple[Axis, ...]
    places: tuple[int, ...]
    finish: FinishSpec

    @property
    def rows(self) -> tuple[int, ...]:
        """Extents of the result but the innermost."""
        return (self.images, self.filters, *(a.out for a in self.axes[:-1]))

    @property
    def row_bytes(self) -> float:
        """Work of a row, as bytes worth the same time."""
        taps = math.prod(a.kernel for a in self.axes)
        return 2.0 * self.axes[-1].out * taps * self.channels / self.groups


class Naive(Generic):
    """Row-major, row after row of the result."""

    name = "naive"
    operators = ("conv",)
    efficiency = 0.1

    def applicable(self, op: Operator, target: Target) -> str | None:
        return "an operand that reaches some channels" if op.get("reach") else None

    def spec(self, op: Operator) -> NaiveSpec:
        x, w, to = (t.shape for t in (op.operands[0].type, op.operands[1].type, type_after(op)))
        n, pads = len(x) - 2, op["pads"]
        axes = tuple(
            Axis(x[2 + i], to[2 + i], w[2 + i], op["strides"][i], pads[i], op["dilations"][i], pads[n + i])
            for i in range(n)
        )
        return NaiveSpec(x[0], x[1], to[1], op["groups"], axes, pointer_places(op), finish_spec(op))

    def estimate(self, op: Operator, target: Target) -> float:
        macs = float(op.macs)
        moved = float(sum(v.type.bytes for v in (*op.operands, *op.results)))
        return seconds(target, macs, self.efficiency_of(op), moved) + CALL_SECONDS

    def efficiency_of(self, op: Operator) -> float:
        """A share of the target's multiply-adds. With a stride, elements are loaded one by one."""
        return self.efficiency if op["strides"][-1] == 1 else _GATHERING

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        lanes = lanes_for((spec.finish.dtype,), target.lanes)
        tasks = nest_tasks(spec.rows, spec.row_bytes)
        workspace = self.workspace(op, target)
        return Kernel(
            f"{op.name.split('.', 1)[1]}_naive",
            spec,
            partial(self.build, spec, lanes),
            tasks.count,
            workspace,
        )

    def build(self, spec: NaiveSpec, lanes: int) -> Any:
        names = [(f"x{i}", spec.finish.dtype) for i in range(len(spec.places))]
        return prim_func([*names, ("result", spec.finish.dtype)], self.body(spec, lanes))

    def body(self, spec: NaiveSpec, lanes: int) -> Any:
        return _Direct(spec, lanes)


class NaiveTransposed(Naive):
    """Each row of the result is summed in the workspace: products land `stride` apart."""

    name = "naive"
    operators = ("conv_transpose",)
    efficiency = 0.03

    def efficiency_of(self, op: Operator) -> float:
        return self.efficiency

    def workspace(self, op: Operator, target: Target) -> int:
        return 8 * row_length(self.spec(op).axes[-1])

    def body(self, spec: NaiveSpec, lanes: int) -> Any:
        return _Transposed(spec, lanes)


def row_length(axis: Axis) -> int:
    """Positions that the products of a row of a transposed convolution reach, cut-off ones included."""
    reached = (axis.size - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1
    return max(reached, axis.pad + axis.out)


class _Body:
    """What both emit: rows of the result as tasks."""

    def __init__(self, spec: NaiveSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes
        self.dtype, self.computed = spec.finish.dtype, spec.finish.computed
        sizes, kernels, outs = (tuple(getattr(a, n) for a in spec.axes) for n in ("size", "kernel", "out"))
        self.source = row_major_strides((spec.images, spec.channels, *sizes))
        self.target = row_major_strides((spec.images, spec.filters, *outs))
        self.taps = row_major_strides(kernels)

    def __call__(self, *arguments: Any) -> None:
        *inputs, result, self.workspace, begin, end = arguments
        spec = self.spec
        self.x, self.w, *extras = (inputs[p] for p in spec.places)
        self.finish = Finish(spec.finish, extras, result)
        if not math.prod(spec.rows) * spec.axes[-1].out:
            T.evaluate(0)
            return
        with task_nest(spec.rows, spec.row_bytes, begin, end) as index:
            self.row(index)

    def row(self, index: list[Expr]) -> None:
        raise NotImplementedError

    def group(self, filter: Expr) -> Expr:
        """First channel of the filter's group."""
        spec = self.spec
        if spec.groups == 1:
            return 0
        return T.truncdiv(filter, spec.filters // spec.groups) * (spec.channels // spec.groups)

    def load(self, buffer: Any, at: Expr, width: int, stride: int = 1) -> Expr:
        value = load(buffer, at, width) if stride == 1 or width == 1 else buffer[T.Ramp(at, stride, width)]
        return convert(value, self.dtype, self.computed, width)

    def weight(self, at: Expr, width: int) -> Expr:
        return splat(self.load(self.w, at, 1), width)


class _Direct(_Body):
    """A vector holds neighbouring positions of the innermost axis."""

    def row(self, index: list[Expr]) -> None:
        each_tile(self.spec.axes[-1], self.lanes, lambda tile: self._tile(index, tile))

    def _tile(self, index: list[Expr], tile: Tile) -> None:
        spec, (image, filter, *places) = self.spec, index
        total = Registers(1, tile.count, self.computed)
        total.fill(start_value(self.computed))
        share = spec.channels // spec.groups
        first = self.group(filter)
        with ExitStack() as stack:
            channel = stack.enter_context(T.serial(0, share))
            outer = spec.axes[:-1]
            taps = [stack.enter_context(tap_loop(a.taps(i))) for a, i in zip(outer, places, strict=True)]
            read = [a.origin(i) + t * a.dilation for a, i, t in zip(outer, places, taps, strict=True)]
            start = dot([image, first + channel, *read], self.source[:-1])
            weights = (filter * share + channel) * math.prod(a.kernel for a in spec.axes) + dot(
                taps, self.taps[:-1]
            )
            innermost_taps(spec.axes[-1], tile, lambda tap: self._tap(start, weights, tile, tap, total))
        at = dot(index, self.target[:-1]) + tile.start
        self.finish.store(total[0], [*index, tile.start], at, tile.count)

    def _tap(self, start: Expr, weights: Expr, tile: Tile, tap: Expr, total: Any) -> None:
        axis = self.spec.axes[-1]
        at = start + axis.origin(tile.start) + tap * axis.dilation
        value = self.load(self.x, at, tile.count, axis.stride)
        total[0] = multiply_add(value, self.weight(weights + tap, tile.count), total[0], self.computed)


class _Transposed(_Body):
    """A vector holds neighbouring inputs of the innermost axis."""

    def row(self, index: list[Expr]) -> None:
        spec, axis = self.spec, self.spec.axes[-1]
        self.sums = self.workspace if self.computed == "float32" else view(self.workspace, self.computed)
        zero = start_value(self.computed)
        each_vector(
            row_length(axis), self.lanes, lambda i, w: store(self.sums, i, splat(zero, w, self.computed), w)
        )
        self._products(index)
        at = dot(index, self.target[:-1])

        def finish(i: Expr, width: int) -> None:
            self.finish.store(load(self.sums, i + axis.pad, width), [*index, i], at + i, width)

        each_vector(spec.axes[-1].out, self.lanes, finish)

    def _products(self, index: list[Expr]) -> None:
        """Adds the products of every channel and tap that reach this row."""
        spec, (image, filter, *places) = self.spec, index
        share, outer = spec.filters // spec.groups, spec.axes[:-1]
        first = self.group(filter)
        with T.serial(0, spec.channels // spec.groups) as channel, loops([a.kernel for a in outer]) as taps:
            read, reached = self._reached(places, taps)
            start = dot([image, first + channel, *read], self.source[:-1])
            local = filter if spec.groups == 1 else T.truncmod(filter, share)
            weights = ((first + channel) * share + local) * math.prod(a.kernel for a in spec.axes) + dot(
                taps, self.taps[:-1]
            )
            with ExitStack() as stack:
                for condition in reached:
                    stack.enter_context(T.If(condition))
                    stack.enter_context(T.Then())
                self._scatter(start, weights)

    def _reached(self, places: list[Expr], taps: list[Expr]) -> tuple[list[Expr], list[Expr]]:
        """Input positions along the outer axes that these taps bring to `places`, and when there are such."""
        read, conditions = [], []
        for axis, place, tap in zip(self.spec.axes[:-1], places, taps, strict=True):
            distance = place + axis.pad - tap * axis.dilation + T.int32(0)
            read.append(T.truncdiv(distance, axis.stride))
            conditions.append(distance >= 0)
            conditions.append(T.truncmod(distance, axis.stride) == 0)
            conditions.append(T.truncdiv(distance, axis.stride) < axis.size)
        return read, conditions

    def _scatter(self, start: Expr, weights: Expr) -> None:
        axis = self.spec.axes[-1]
        with T.serial(0, axis.kernel) as tap:

            def body(i: Expr, width: int) -> None:
                place = i * axis.stride + tap * axis.dilation
                where = T.Ramp(place, axis.stride, width) if width > 1 else place
                product = self.load(self.x, start + i, width)
                total = multiply_add(
                    product, self.weight(weights + tap, width), self.sums[where], self.computed
                )
                T.buffer_store(self.sums, total, [where])

            each_vector(axis.size, self.lanes, body)


PRIMITIVES: tuple[Primitive, ...] = (Naive(), NaiveTransposed())
