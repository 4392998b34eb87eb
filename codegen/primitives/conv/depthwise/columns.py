"""8-bit depthwise convolution by a dot product of 128 bits: four kernel rows to an instruction.

A pixel of a block of channels is a vector. Interleaving the bytes of up to four rows of a column
gives, for each of four groups of four channels, a vector whose 32-bit elements hold one column of the
window: one product sums them. A column is interleaved once, and kept in a ring of as many as a window spans.

Kernel rows outside the image have weights of zero, in a copy of the weights for each such set of rows;
columns outside the image hold the zero point.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import lcm
from typing import Any

import numpy as np

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.isa import DotKind
from secateur.codegen.targets.target import Target
from secateur.codegen.tir import Registers, T, load, opaque, prim_func, splat
from secateur.codegen.vector.dot import QUAD, Dot, dot_of
from secateur.codegen.vector.requantize import BLOCK, on_target, padded_multipliers, result_parameters
from secateur.codegen.vector.shuffles import hold, interleaved
from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import ROW_MAJOR, Layout

from ....rounding import up
from ...operator import Argument, Combination, Constant, Operand, Primitive
from ...specs import seconds
from ..ending import LinearFinish
from ..int8_spec import LinearSpec
from ..linear_operators import linear_spec, refusal
from ..plan import KernelSpec
from .rows import packed_rows

Expr = Any
Buffer = Any

_GROUPS = BLOCK // QUAD
_RESIDUAL = 3
_KINDS = (DotKind.LANES, DotKind.MIXED_LANES)
_MOST_REGISTERS = 24  # of columns and weights, beside sums and rows


class DepthwiseColumns(Primitive):
    """u8 in and out, blocks of 16; windows whose columns and weights fit the registers."""

    name = "depthwise_columns"
    operators = ("linear_conv",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        reason = refusal(op)
        if reason:
            return reason
        if target.isa.dot.kind not in _KINDS:
            return "needs a dot product of 128 bits"
        spec = linear_spec(op)
        if not spec.groups == spec.channels == spec.filters:
            return f"{spec.groups} groups of {spec.channels} channels and {spec.filters} filters"
        if spec.reach or spec.ending.result != "uint8":
            return "has a residual of some channels or a real result"
        if _quads(spec) * _GROUPS * (spec.span(1) + spec.kernel[1]) > _MOST_REGISTERS:
            return f"a kernel of {spec.kernel} with dilations {spec.dilations} takes too many registers"
        return "strides beyond the window" if spec.strides[1] > spec.span(1) else None

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        layout = Layout(f"NCHW{BLOCK}c")
        residual = [layout] * (len(op.operands) - _RESIDUAL)
        return (((layout, ROW_MAJOR, ROW_MAJOR, *residual), layout),)

    def estimate(self, op: Operator, target: Target) -> float:
        spec = linear_spec(op)
        results = spec.batch * spec.pixels * up(spec.channels, BLOCK)
        column = 2 * spec.kernel[0] + 8 * _quads(spec)
        operations = column * spec.strides[1] + _GROUPS * _quads(spec) * spec.kernel[1] + 28
        return seconds(target, results * operations / QUAD, 1.0, float(results)) + 1e-6

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        zero = one_quant(op.operands[0].type)[1]
        tables = packed_rows(op, zero - dot_of(target).offset)
        ending = (padded_multipliers(op), result_parameters(op, _RESIDUAL))
        residual = [Operand(i) for i in range(_RESIDUAL, len(op.operands))]
        constants = (*tables, np.full(BLOCK, zero, np.uint8), *ending)
        return (Operand(0), *residual, *map(Constant, constants))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = linear_spec(op).unbordered()
        spec, dot = replace(spec, ending=on_target(spec.ending, op, _RESIDUAL, target)), dot_of(target)
        tasks = spec.batch * up(spec.channels, BLOCK) // BLOCK * spec.out_height
        name = f"linear_{self.name}"
        return Kernel(name, KernelSpec(name, spec, dot, dot.lanes), partial(_build, spec, dot), tasks)


def _quads(spec: LinearSpec) -> int:
    """Vectors of four kernel rows, the last one filled with zero weights."""
    return up(spec.kernel[0], QUAD) // QUAD


def _build(spec: LinearSpec, dot: Dot) -> Any:
    residual = [("residual", "uint8")] if spec.ending.residual else []
    tables = [("numbers", "int32"), ("weights", "int8"), ("starts", "int32"), ("padding", "uint8")]
    ending = [("multipliers", "float32"), ("parameters", "float32"), ("output", "uint8")]
    return prim_func([("data", "uint8"), *residual, *tables, *ending], _Body(spec, dot))


class _Body:
    """Emits the loops: rows of a block of channels as tasks; along the row, one pixel after another."""

    def __init__(self, spec: LinearSpec, dot: Dot) -> None:
        self.spec, self.dot, self.blocks = spec, dot, up(spec.channels, BLOCK) // BLOCK
        self.quads, self.span, self.stride = _quads(spec), spec.span(1), spec.strides[1]
        self.period = lcm(self.span, self.stride) // self.stride  # pixels after which the ring is as it was

    def __call__(self, *arguments: Any) -> None:
        *buffers, _, begin, end = arguments
        self.data, *residual = buffers[: 1 + bool(self.spec.ending.residual)]
        self.numbers, self.weights, self.starts, self.padding, *ending = buffers[1 + len(residual) :]
        self.finish = LinearFinish(self.spec, self.dot.lanes, (*residual, self.starts, *ending))
        with T.serial(begin, end) as task:
            self._row(task // self.spec.out_height, task % self.spec.out_height)

    def _row(self, plane: Expr, row: Expr) -> None:
        spec = self.spec
        self.plane, self.row = plane, row
        self.lines = [self._line(plane, row, kh) for kh in range(spec.kernel[0])]
        self.table = hold(self.numbers[row] * self.blocks + plane % self.blocks, 1, "int32")
        self.ring = Registers(self.span * self.quads * _GROUPS, BLOCK, "int8")
        self.factors = Registers(spec.kernel[1] * self.quads * _GROUPS, BLOCK, "int8")
        for number in range(self.factors.count):
            self.factors[number] = load(
                self.weights, (self.table * self.factors.count + number) * BLOCK, BLOCK
            )
        self._walk()

    def _line(self, plane: Expr, row: Expr, kh: int) -> Expr:
        """Where a kernel row's first column lies; outside the image, where another row's does."""
        spec = self.spec
        place = row * spec.strides[0] - spec.pads[0] + kh * spec.dilations[0]
        inside = T.max(0, T.min(spec.height - 1, place))
        return opaque(((plane * spec.height + inside) * spec.width - spec.pads[1]) * BLOCK)

    def _walk(self) -> None:
        """Pixels from left to right: those whose windows lie inside in a loop."""
        first, rounds = self._inner()
        for pixel in range(first):
            self._pixel(pixel, pixel)
        if rounds:
            with T.serial(0, rounds) as number:
                for phase in range(self.period):
                    self._pixel(first + phase, first + number * self.period + phase, inside=True)
        for pixel in range(first + rounds * self.period, self.spec.out_width):
            self._pixel(pixel, pixel)

    def _inner(self) -> tuple[int, int]:
        """The first pixel of the loop, and how often it goes round; the columns that it reads lie inside."""
        spec, period = self.spec, self.period
        read = max(1, -(-(spec.pads[1] - self.span + self.stride) // self.stride))
        first = min(up(read, period), spec.out_width)
        inside = (spec.width + spec.pads[1] - self.span) // self.stride + 1  # pixels whose windows end inside
        rounds = max(0, min(inside, spec.out_width) - first) // period
        return (first, rounds) if rounds > 1 else (spec.out_width, 0)

    def _pixel(self, number: int, pixel: Expr, *, inside: bool = False) -> None:
        """One result of a block; `number` is the pixel's, or that of one with the same places in the ring."""
        for k in range(self.span - self.stride if number else 0, self.span):
            self._read(number * self.stride + k, pixel * self.stride + k, inside)
        sums, lanes = Registers(_GROUPS, self.dot.lanes, "int32"), self.dot.lanes
        for group in range(_GROUPS):
            sums[group] = load(self.starts, self.table * BLOCK + group * lanes, lanes)
        for kw in range(self.spec.kernel[1]):
            self._tap(sums, number * self.stride + kw * self.spec.dilations[1], kw)
        image, channel = self.plane // self.blocks, self.plane % self.blocks * BLOCK
        totals = [sums[group] for group in range(_GROUPS)]
        self.finish.store_all(totals, image, self.row * self.spec.out_width + pixel, channel)

    def _tap(self, sums: Any, column: int, kw: int) -> None:
        for quad in range(self.quads):
            for group in range(_GROUPS):
                element = self.ring[self._slot(column, quad, group)]
                weights = self.factors[(kw * self.quads + quad) * _GROUPS + group]
                self.dot.accumulate(sums, group, (element,), (weights,))

    def _slot(self, column: int, quad: int, group: int) -> int:
        return (column % self.span * self.quads + quad) * _GROUPS + group

    def _read(self, number: int, column: Expr, inside: bool) -> None:
        """Interleaves a column, counted from the first of the padding."""
        within = inside or self.spec.pads[1] <= number < self.spec.width + self.spec.pads[1]
        rows = [
            self._row_of(line, column) if within else self._signed(self.padding, 0) for line in self.lines
        ]
        for quad in range(self.quads):
            four = [rows[min(QUAD * quad + k, len(rows) - 1)] for k in range(QUAD)]
            for group, value in enumerate(interleaved(four, BLOCK, "int8") if within else four):
                self.ring[self._slot(number, quad, group)] = value

    def _row_of(self, line: Expr, column: Expr) -> Expr:
        return self._signed(self.data, line + column * BLOCK)

    def _signed(self, buffer: Buffer, index: Expr) -> Expr:
        """A pixel as the product takes it."""
        value = T.reinterpret(f"int8x{BLOCK}", load(buffer, index, BLOCK))
        return hold(
            value ^ splat(-self.dot.offset, BLOCK, "int8") if self.dot.offset else value, BLOCK, "int8"
        )


PRIMITIVES: tuple[Primitive, ...] = (DepthwiseColumns(),)
