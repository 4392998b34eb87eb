"""Reductions: sums of elements, magnitudes and squares, products, extremes; index of the largest element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, splat, store
from ...vector.loops import (
    Expr,
    Tasks,
    dot,
    loops,
    nest_tasks,
    row_major_strides,
    task_nest,
    task_vectors,
    vector_rows,
)
from ...vector.numeric import Numeric, convert, extreme, lanes_for
from ...vector.shuffles import hold
from ..generic import (
    BLOCKED,
    FLOATS,
    Generic,
    block_refusal,
    physical,
    same_layouts,
    storage,
    target_block,
    type_after,
    with_half,
)
from ..operator import Combination, Primitive
from . import argmax, cumsum, top_k

KINDS = ("mean", "sum", "prod", "l1", "sum_square", "l2", "log_sum", "max", "min")
_LAST = {"l2": "sqrt", "log_sum": "log"}  # the function of the sum
CHAINS = 4  # independent accumulators, to hide the latency of an addition


@dataclass(frozen=True)
class ReduceSpec:
    """`kind` over the `reduced` dimensions of a dense box; `count` elements go into each result."""

    kind: str
    extents: tuple[int, ...]
    reduced: tuple[bool, ...]
    dtype: str
    count: int

    @property
    def computed(self) -> str:
        return "float32" if self.dtype == "float16" else self.dtype

    def dims(self, reduced: bool) -> list[tuple[int, int]]:
        """(extent, stride) of the dimensions that are reduced, or of those that are kept."""
        strides = row_major_strides(self.extents)
        return [(e, s) for e, s, r in zip(self.extents, strides, self.reduced, strict=True) if r == reduced]


def collapsed_axes(shape: Sequence[int], reduced: Sequence[bool]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Neighbouring dimensions of the same fate merged; unit dimensions dropped; at least one dimension."""
    merged: list[tuple[int, bool]] = []
    for extent, gone in zip(shape, reduced, strict=True):
        if extent == 1:
            continue
        if merged and merged[-1][1] == gone:
            merged[-1] = (merged[-1][0] * extent, gone)
        else:
            merged.append((extent, gone))
    merged = merged or [(1, False)]
    return tuple(e for e, _ in merged), tuple(r for _, r in merged)


def reduced_axes(op: Operator) -> set[int]:
    rank = op.operands[0].type.rank
    return {a % rank for a in op["axes"]} if rank else set()


class Reduce(Generic):
    """Row-major over any axes. A kept innermost axis fills the vectors, else a reduced one does."""

    name = "reduce"
    operators = tuple(f"reduce_{kind}" for kind in KINDS)

    def spec(self, op: Operator) -> ReduceSpec:
        x, axes = op.operands[0].type, reduced_axes(op)
        shape, gone = physical(x), [i in axes for i in range(x.rank)]
        if x.layout.block:
            gone.append(False)
        extents, reduced = collapsed_axes(shape, gone)
        count = math.prod(d for i, d in enumerate(x.shape) if i in axes)
        return ReduceSpec(op.name.split("reduce_")[1], extents, reduced, storage(x.dtype), count)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        lanes = lanes_for((spec.dtype,), target.lanes)
        return Kernel(op.name.split(".", 1)[1], spec, partial(_build, spec, lanes), _tasks(spec, lanes).count)


class BlockedReduce(Reduce):
    """By blocks of channels, over exactly the spatial axes, which the result keeps as 1.

    Of bytes only the largest and the smallest. The logarithm of padding lanes would not be zero.
    """

    name = "reduce_blocked"
    operators = tuple(f"reduce_{kind}" for kind in KINDS if kind != "log_sum")

    def applicable(self, op: Operator, target: Target) -> str | None:
        x = op.operands[0].type
        if not op["keepdims"] or reduced_axes(op) != set(range(2, x.rank)):
            return "blocked tensors are reduced over all their spatial axes, which are kept as 1"
        dtypes = BLOCKED if op.name.endswith(("max", "min")) else FLOATS
        return block_refusal(op, with_half(dtypes, target)) or ("an empty tensor" if not x.elements else None)

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return (same_layouts(op, target_block(target, type_after(op).dtype)),)


def _outer(spec: ReduceSpec) -> tuple[int, ...]:
    """Extents of the kept dimensions, without the innermost one where it fills the vectors."""
    kept = [e for e, _ in spec.dims(False)]
    return tuple(kept if spec.reduced[-1] else kept[:-1])


def _tasks(spec: ReduceSpec, lanes: int) -> Tasks:
    rows = _outer(spec) if spec.reduced[-1] else vector_rows(_outer(spec), spec.extents[-1], lanes)
    return nest_tasks(rows, _row_bytes(spec, lanes))


def _row_bytes(spec: ReduceSpec, lanes: int) -> float:
    """Bytes that go into one result, or into one vector of results."""
    return 4.0 * math.prod(e for e, _ in spec.dims(True)) * (1 if spec.reduced[-1] else lanes)


def _build(spec: ReduceSpec, lanes: int) -> Any:
    return prim_func([("x", spec.dtype), ("result", spec.dtype)], Body(spec, lanes))


class Body:
    """Emits the loops of a reduction."""

    def __init__(self, spec: ReduceSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes
        self.inner = 1 if spec.reduced[-1] else spec.extents[-1]

    def __call__(self, x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        self.x, self.result = x, result
        outer = _outer(self.spec)
        if not math.prod(outer) * self.inner:
            T.evaluate(0)
            return
        self.strides = [s for _, s in self.spec.dims(False)][: len(outer)]
        self.places = row_major_strides((*outer, self.inner))[:-1]
        row_bytes = _row_bytes(self.spec, self.lanes)
        if not self.spec.reduced[-1]:
            task_vectors(outer, self.inner, self.lanes, row_bytes, begin, end, self._vector)
            return
        with task_nest(outer, row_bytes, begin, end) as index:
            self._along(dot(index, self.strides), dot(index, self.places))

    def _vector(self, index: list[Expr], start: Expr, width: int) -> None:
        self._across(dot(index, self.strides) + start, dot(index, self.places) + start, width)

    def _across(self, base: Expr, at: Expr, width: int) -> None:
        """A vector of neighbouring results."""
        totals = Registers(CHAINS, width, self.spec.computed)
        totals.fill(self.start())
        self._gather(self.spec.dims(True), base, width, totals)
        self.finish(self._joined(totals), at, width)

    def _gather(self, dims: list[tuple[int, int]], base: Expr, width: int, totals: Any) -> None:
        """Adds up vectors over reduced dimensions, the last of them `CHAINS` at a time."""
        extents, strides = [e for e, _ in dims], [s for _, s in dims]
        if not dims:
            extents, strides = [1], [0]
        step, chunks = strides[-1], extents[-1] // CHAINS
        with loops(extents[:-1]) as index:
            start = base + dot(index, strides[:-1])
            if chunks:
                self._chunks(start, step, chunks, width, totals)
            for r in range(extents[-1] % CHAINS):
                self._add(totals, r, start + (chunks * CHAINS + r) * step, width)

    def _chunks(self, start: Expr, step: int, chunks: int, width: int, totals: Any) -> None:
        with T.serial(0, chunks) as i:
            for r in range(CHAINS):
                self._add(totals, r, start + (i * CHAINS + r) * step, width)

    def _along(self, base: Expr, at: Expr) -> None:
        """One result from contiguous runs."""
        *outer, (extent, _) = self.spec.dims(True)
        whole = extent // self.lanes
        total = Registers(1, 1, self.spec.computed)
        total.fill(self.start())
        if whole and self.lanes > 1:
            totals = Registers(CHAINS, self.lanes, self.spec.computed)
            totals.fill(self.start())
            self._gather([*outer, (whole, self.lanes)], base, self.lanes, totals)
            self._fold(self._joined(totals), total)
        rest = whole * self.lanes if self.lanes > 1 else 0
        self._rest(outer, extent - rest, base + rest, total)
        self.finish(total[0], at, 1)

    def _fold(self, joined: Expr, total: Any) -> None:
        """The lanes of a vector, one by one."""
        held = Registers(1, self.lanes, self.spec.computed)
        held[0] = joined
        for lane in range(self.lanes):
            total[0] = self.combine(total[0], T.Shuffle([held[0]], [lane]), 1)

    def _rest(self, outer: list[tuple[int, int]], extent: int, base: Expr, total: Any) -> None:
        if not extent:
            return
        with loops([e for e, _ in outer]) as index, T.serial(0, extent) as i:
            self._add(total, 0, base + dot(index, [s for _, s in outer]) + i, 1)

    def _add(self, totals: Any, register: int, at: Expr, width: int) -> None:
        totals[register] = self.combine(totals[register], self.summand(at, width), width)

    def summand(self, at: Expr, width: int) -> Expr:
        """What of elements from `at` on is reduced."""
        value = convert(load(self.x, at, width), self.spec.dtype, self.spec.computed, width)
        if self.spec.kind in ("l2", "sum_square"):
            value = hold(value, width, self.spec.computed)
            return value * value
        return Numeric(self.spec.computed, width).unary("abs", value) if self.spec.kind == "l1" else value

    def _joined(self, totals: Any) -> Expr:
        width = totals.lanes
        first = self.combine(totals[0], totals[1], width)
        return self.combine(first, self.combine(totals[2], totals[3], width), width)

    def start(self) -> float:
        floating = self.spec.computed.startswith("float")
        if self.spec.kind not in ("max", "min"):
            start = int(self.spec.kind == "prod")
            return float(start) if floating else start
        if floating:
            return -math.inf if self.spec.kind == "max" else math.inf
        info = np.iinfo(self.spec.computed)
        return int(info.min if self.spec.kind == "max" else info.max)

    def combine(self, total: Expr, value: Expr, width: int) -> Expr:
        if self.spec.kind in ("max", "min"):
            return extreme(self.spec.kind, total, value, self.spec.computed, width)
        return total * value if self.spec.kind == "prod" else total + value

    def finish(self, value: Expr, at: Expr, width: int) -> None:
        spec = self.spec
        if spec.kind == "mean" and spec.computed.startswith("float"):
            value = value / splat(float(spec.count), width, spec.computed)
        elif spec.kind in _LAST:
            value = Numeric(spec.computed, width).unary(_LAST[spec.kind], value)
        elif spec.kind == "mean":
            value = T.truncdiv(value, splat(max(spec.count, 1), width, spec.computed))
        store(self.result, at, convert(value, spec.computed, spec.dtype, width), width)


PRIMITIVES: tuple[Primitive, ...] = (
    BlockedReduce(),
    Reduce(),
    *argmax.PRIMITIVES,
    *cumsum.PRIMITIVES,
    *top_k.PRIMITIVES,
)
