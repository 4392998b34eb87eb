"""Matrix products of computed operands, batched and broadcast, in any element type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.types import DType

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, splat
from ...vector.loops import (
    Expr,
    broadcast_strides,
    dot,
    nest_tasks,
    row_major_strides,
    task_vectors,
    vector_rows,
)
from ...vector.numeric import convert, lanes_for, multiply_add, start_value
from ...vector.strips import Strip
from ..generic import CALL_SECONDS, Generic, type_after
from ..generic_ending import Finish, FinishSpec, finish_spec, pointer_places
from ..specs import seconds

ROWS, VECTORS = 4, 2  # the register tile
_PLAIN, _CONVERTING = 0.3, 0.15  # of the multiply-adds; binary16 is multiplied in float32


@dataclass(frozen=True)
class MatmulSpec:
    """(batch, rows, inner) by (batch, inner, columns); batch strides of both operands in elements."""

    batch: tuple[int, ...]
    rows: int
    inner: int
    columns: int
    left: tuple[int, ...]
    right: tuple[int, ...]
    places: tuple[int, ...]
    finish: FinishSpec

    @property
    def tile_rows(self) -> int:
        return min(ROWS, self.rows)


class Matmul(Generic):
    """Row-major; vectors lie along the columns, or along the inner dimension where there is one column."""

    name = "matmul"
    operators = ("matmul",)

    def spec(self, op: Operator) -> MatmulSpec:
        a, b = (v.type.shape for v in op.operands[:2])
        rows, columns = a[-2] if len(a) > 1 else 1, b[-1] if len(b) > 1 else 1
        left, right = a[:-2], b[:-2]
        result = type_after(op).shape
        kept = len(result) - (len(a) > 1) - (len(b) > 1)
        batch = result[:kept]
        strides = [
            tuple(s * size for s in broadcast_strides(part, batch))
            for part, size in ((left, rows * a[-1]), (right, a[-1] * columns))
        ]
        finish = _widened(finish_spec(op), kept, len(a) > 1, len(b) > 1)
        return MatmulSpec(batch, rows, a[-1], columns, strides[0], strides[1], pointer_places(op), finish)

    def estimate(self, op: Operator, target: Target) -> float:
        macs = float(op.macs)
        moved = float(sum(v.type.bytes for v in (*op.operands, *op.results)))
        efficiency = _CONVERTING if op.result.type.dtype == DType.F16 else _PLAIN
        return seconds(target, macs, efficiency, moved) + CALL_SECONDS

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        lanes = lanes_for((spec.finish.dtype,), target.lanes)
        tasks = nest_tasks(vector_rows(_rows(spec), spec.columns, _strip(lanes)), _row_bytes(spec, lanes))
        return Kernel("matmul", spec, partial(_build, spec, lanes), tasks.count)


def _widened(finish: FinishSpec, kept: int, has_rows: bool, has_columns: bool) -> FinishSpec:
    """Extra operands' strides over (batch, rows, columns), whichever of them the result has."""

    def widen(strides: tuple[int, ...]) -> tuple[int, ...]:
        rest = list(strides[kept:])
        rows = rest.pop(0) if has_rows else 0
        return (*strides[:kept], rows, rest[0] if has_columns else 0)

    return FinishSpec(finish.dtype, finish.epilogue, tuple(map(widen, finish.strides)))


def _rows(spec: MatmulSpec) -> tuple[int, ...]:
    return (*spec.batch, -(-spec.rows // max(1, spec.tile_rows)))


def _strip(lanes: int) -> int:
    """Columns that one task takes."""
    return 4 * VECTORS * lanes


def _row_bytes(spec: MatmulSpec, lanes: int) -> float:
    return spec.inner * min(spec.columns, _strip(lanes)) * (1.0 + spec.tile_rows / 4)


def _build(spec: MatmulSpec, lanes: int) -> Any:
    names = [(f"x{i}", spec.finish.dtype) for i in range(len(spec.places))]
    return prim_func([*names, ("result", spec.finish.dtype)], _Body(spec, lanes))


class _Body:
    """Emits tiles of rows, and within them tiles of columns."""

    def __init__(self, spec: MatmulSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes
        self.dtype, self.computed = spec.finish.dtype, spec.finish.computed

    def __call__(self, *arguments: Any) -> None:
        *inputs, result, _, begin, end = arguments
        spec = self.spec
        self.a, self.b, *extras = (inputs[p] for p in spec.places)
        self.finish = Finish(spec.finish, extras, result)
        if not math.prod(spec.batch) * spec.rows * spec.columns:
            T.evaluate(0)
            return
        row_bytes = _row_bytes(spec, self.lanes)
        task_vectors(_rows(spec), spec.columns, _strip(self.lanes), row_bytes, begin, end, self._tile)

    def _tile(self, index: list[Expr], column: Expr, columns: int) -> None:
        """`columns` columns from `column` on of a tile of rows; the last tile overlaps, with equal values."""
        spec, (*batch, tile) = self.spec, index
        row = T.min(tile * spec.tile_rows, spec.rows - spec.tile_rows)
        a = dot(batch, spec.left) + row * spec.inner
        b = dot(batch, spec.right)
        if spec.columns == 1:
            for r in range(spec.tile_rows):
                self._inner_product(batch, row + r, a + r * spec.inner, b)
            return
        done = 0
        for vectors, width in ((VECTORS, self.lanes), (1, self.lanes), (1, (columns % self.lanes) or 1)):
            count = (columns - done) // (vectors * width)
            self._columns(batch, row, a, b, (column + done, count, vectors, width))
            done += count * vectors * width

    def _columns(
        self, batch: list[Expr], row: Expr, a: Expr, b: Expr, run: tuple[Expr, int, int, int]
    ) -> None:
        """`count` tiles of `vectors` vectors of `width` columns from column `first` on."""
        first, count, vectors, width = run
        if not count:
            return
        with T.serial(0, count) as i:
            self._registers(batch, row, a, b, (first + i * (vectors * width), vectors, width))

    def _registers(
        self, batch: list[Expr], row: Expr, a: Expr, b: Expr, columns: tuple[Expr, int, int]
    ) -> None:
        (first, vectors, width), spec = columns, self.spec
        totals = Registers(spec.tile_rows * vectors, width, self.computed)
        totals.fill(start_value(self.computed))
        with T.serial(0, spec.inner) as k:
            rights = [
                self._load(self.b, b + k * spec.columns + first + v * width, width) for v in range(vectors)
            ]
            for r in range(spec.tile_rows):
                self._multiply(totals, r * vectors, self._splat(a + r * spec.inner + k, width), rights)
        for r in range(spec.tile_rows):
            for v in range(vectors):
                self._finish(totals[r * vectors + v], batch, row + r, first + v * width, width)

    def _multiply(self, totals: Any, start: int, left: Expr, rights: Sequence[Expr]) -> None:
        for v, right in enumerate(rights):
            totals[start + v] = multiply_add(left, right, totals[start + v], self.computed)

    def _inner_product(self, batch: list[Expr], row: Expr, a: Expr, b: Expr) -> None:
        def product(offset: Expr, width: int) -> Expr:
            return self._load(self.a, a + offset, width) * self._load(self.b, b + offset, width)

        strip = Strip(self.spec.inner, self.lanes)
        total = strip.reduce(start_value(self.computed), product, lambda x, y: x + y, self.computed)
        self._finish(total[0], batch, row, 0, 1)

    def _finish(self, value: Expr, batch: list[Expr], row: Expr, column: Expr, width: int) -> None:
        spec, index = self.spec, [*batch, row, column]
        at = dot(index, row_major_strides((*spec.batch, spec.rows, spec.columns)))
        self.finish.store(value, index, at, width)

    def _load(self, buffer: Any, at: Expr, width: int) -> Expr:
        return convert(load(buffer, at, width), self.dtype, self.computed, width)

    def _splat(self, at: Expr, width: int) -> Expr:
        return splat(convert(self.a[at], self.dtype, self.computed, 1), width)


PRIMITIVES = (Matmul(),)
