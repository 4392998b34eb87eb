"""Layer and instance normalization: every row brought to mean 0 and variance 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, Layout

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import T, load, prim_func, splat, store
from ...vector.loops import Expr, dot, nest_tasks, task_nest
from ...vector.numeric import convert, lanes_for
from ...vector.shuffles import hold
from ...vector.strips import Strip
from ..elementwise.elementwise import argument_order
from ..generic import Generic, block_of, block_refusal, is_constant, storage, target_block, type_after
from ..operator import Array, Combination, constant_of, to_layout


@dataclass(frozen=True)
class RowNormSpec:
    """Rows of `count` positions of `unit` elements (1, or the lanes of a block of channels).

    Scale and bias lie `row_steps` apart from row to row and `steps` from position to
    position; `places` are the pointers of x, scale and bias.
    """

    rows: tuple[int, ...]
    count: int
    unit: int
    row_steps: tuple[int, ...]
    steps: tuple[int, int]
    epsilon: float
    dtype: str
    places: tuple[int, ...]

    @property
    def computed(self) -> str:
        return "float32" if self.dtype == "float16" else self.dtype


class _RowNorm(Generic):
    """What both share: three passes over each row."""

    cost = 6.0

    def spec(self, op: Operator) -> RowNormSpec:
        raise NotImplementedError

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        lanes = lanes_for((spec.dtype,), target.lanes)
        tasks = nest_tasks(spec.rows, _row_bytes(spec))
        return Kernel(op.name.split(".", 1)[1], spec, partial(_build, spec, lanes), tasks.count)


class LayerNorm(_RowNorm):
    """Row-major; constant scale and bias are broadcast beforehand."""

    name = "layer_norm"
    operators = ("layer_norm",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        steps = [self._step(op, i) for i in (1, 2)]
        return "a computed scale or bias is broadcast along some axes only" if None in steps else None

    def _count(self, op: Operator) -> int:
        x = op.operands[0].type
        return math.prod(x.shape[op["axis"] % x.rank :])

    def _step(self, op: Operator, index: int) -> int | None:
        elements = op.operands[index].type.elements
        if is_constant(op, index) or elements == self._count(op):
            return 1
        return 0 if elements == 1 else None

    def spec(self, op: Operator) -> RowNormSpec:
        x, order = op.operands[0].type, argument_order(op)
        rows = math.prod(x.shape[: op["axis"] % x.rank])
        steps = (self._step(op, 1) or 0, self._step(op, 2) or 0)
        places = tuple(order.index(i) for i in range(3))
        return RowNormSpec((rows,), self._count(op), 1, (0,), steps, op["epsilon"], storage(x.dtype), places)

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        x = op.operands[0].type
        shape = x.shape[op["axis"] % x.rank :]
        found = [constant_of(v) for v in op.operands]
        widened = [a if i == 0 else np.broadcast_to(a, shape) for i, a in enumerate(found) if a is not None]
        return tuple(np.ascontiguousarray(a) for a in widened)


class InstanceNorm(_RowNorm):
    """Row-major, or float32 by blocks of channels where scale and bias are constant."""

    name = "instance_norm"
    operators = ("instance_norm",)

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain: Combination = ((ROW_MAJOR,) * 3, ROW_MAJOR)
        if block_refusal(op) or is_constant(op, 0) or not (is_constant(op, 1) and is_constant(op, 2)):
            return (plain,)
        layout = target_block(target)
        return ((layout, ROW_MAJOR, ROW_MAJOR), layout), plain

    def spec(self, op: Operator) -> RowNormSpec:
        x, block, order = type_after(op), block_of(op), argument_order(op)
        images, channels, *spatial = x.shape
        rows = (images, -(-channels // block) if block else channels)
        places = tuple(order.index(i) for i in range(3))
        unit = block or 1
        return RowNormSpec(
            rows, math.prod(spatial), unit, (0, unit), (0, 0), op["epsilon"], storage(x.dtype), places
        )

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        found = [a for v in op.operands if (a := constant_of(v)) is not None]
        block = block_of(op)
        if not block:
            return tuple(np.ascontiguousarray(a) for a in found)
        return tuple(to_layout(a.reshape(1, -1, 1), Layout(f"NCHW{block}c")) for a in found)


def _row_bytes(spec: RowNormSpec) -> float:
    return 16.0 * spec.count * spec.unit


def _build(spec: RowNormSpec, lanes: int) -> Any:
    return prim_func([(n, spec.dtype) for n in ("x0", "x1", "x2", "result")], Body(spec, lanes))


class Body:
    """Emits the passes over each row: mean, variance, result."""

    def __init__(self, spec: RowNormSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes

    def __call__(self, *arguments: Any) -> None:
        *buffers, _, begin, end = arguments
        self.open(*buffers)
        spec = self.spec
        if not math.prod(spec.rows) * spec.count:
            T.evaluate(0)
            return
        across = spec.unit if spec.unit > 1 else 0
        strip = Strip(spec.count, self.lanes, across, spec.unit)
        with task_nest(spec.rows, _row_bytes(spec), begin, end) as index:
            row = index[0] if len(index) == 1 else index[0] * spec.rows[1] + index[1]
            self.row(strip, row * (spec.count * spec.unit), dot(index, spec.row_steps))

    def open(self, *buffers: Any) -> None:
        """The operands in their order, and the result."""
        *inputs, self.result = buffers
        self.x, self.scale, self.bias = (inputs[p] for p in self.spec.places)

    def row(self, strip: Strip, base: Expr, parameter: Expr) -> None:
        """The passes over a row that begins at `base`, whose scale and bias lie at `parameter`."""
        computed = self.spec.computed
        mean = strip.reduce(0.0, lambda o, w: self._load(self.x, base + o, w), _add, computed)
        mean[0] = mean[0] * self._const(1.0 / self.spec.count, strip.width)

        def square(offset: Expr, width: int) -> Expr:
            centred = hold(
                self._load(self.x, base + offset, width) - strip.spread(mean, width), width, computed
            )
            return centred * centred

        inverse = strip.reduce(0.0, square, _add, computed)
        inverse[0] = self._inverse_deviation(inverse[0], strip.width)

        def finish(offset: Expr, width: int) -> None:
            centred = self._load(self.x, base + offset, width) - strip.spread(mean, width)
            scale = self._parameter(self.scale, parameter, offset, self.spec.steps[0], width)
            bias = self._parameter(self.bias, parameter, offset, self.spec.steps[1], width)
            self._store(base + offset, centred * strip.spread(inverse, width) * scale + bias, width)

        strip.each(finish)

    def _inverse_deviation(self, squares: Expr, width: int) -> Expr:
        variance = squares * self._const(1.0 / self.spec.count, width) + self._const(self.spec.epsilon, width)
        return self._const(1.0, width) / T.sqrt(variance)

    def _const(self, value: float, width: int) -> Expr:
        return splat(value, width, self.spec.computed)

    def _parameter(self, buffer: Any, at: Expr, offset: Expr, step: int, width: int) -> Expr:
        if self.spec.unit > 1:
            return self._load(buffer, at, width)
        if step:
            return self._load(buffer, at + offset, width)
        return splat(self._load(buffer, at, 1), width)

    def _load(self, buffer: Any, at: Expr, width: int) -> Expr:
        return convert(load(buffer, at, width), self.spec.dtype, self.spec.computed, width)

    def _store(self, at: Expr, value: Expr, width: int) -> None:
        store(self.result, at, convert(value, self.spec.computed, self.spec.dtype, width), width)


def _add(a: Expr, b: Expr) -> Expr:
    return a + b


PRIMITIVES = (LayerNorm(), InstanceNorm())
