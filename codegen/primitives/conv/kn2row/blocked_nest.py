"""The loops of blocked kn2row; see `blocked`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....rounding import up
from ....tir import T, load, prefetch, prim_func, store, view, when
from ....vector.dot import QUAD
from ....vector.shuffles import hold
from ...specs import layout_block
from ..arithmetic import Arithmetic
from ..ending import kernel_pointers, opened
from ..int8_spec import LinearSpec
from ..plan import Run
from ..tile import kernel_rows
from .blocked_plan import Plan, runs_of

Expr = Any
Buffer = Any

_LINE = 64


def build(spec: LinearSpec, plan: Plan, arithmetic: Arithmetic) -> Any:
    """The PrimFunc."""

    def body(*args: Any) -> None:
        *buffers, workspace, begin, end = args
        nest = _Nest(spec, plan, arithmetic, tuple(buffers), workspace)
        with T.serial(begin, end) as task:
            nest.task(task)

    return prim_func(kernel_pointers(spec), body)


class _Nest:
    """Emits one task. The sums of its strip lie as [row][column][vector and lane of filters]."""

    def __init__(
        self,
        spec: LinearSpec,
        plan: Plan,
        arithmetic: Arithmetic,
        buffers: tuple[Buffer, ...],
        workspace: Buffer,
    ) -> None:
        self.spec, self.plan, self.arithmetic = spec, plan, arithmetic
        self.data, self.weights, self.finish = opened(spec, arithmetic.lanes, buffers)
        self.sums = view(workspace, arithmetic.dtype)
        self.block = layout_block(spec.in_layout)
        self.blocks_in = up(spec.channels, self.block) // self.block
        self.tap = self.blocks_in * self.block // QUAD * plan.vectors * arithmetic.width  # bytes of weights
        self.runs = runs_of(spec, plan)
        self.longest = max(self.runs, key=lambda run: run.tiles)

    def task(self, task: Expr) -> None:
        spec, plan = self.spec, self.plan
        strips = -(-spec.out_height // plan.rows)
        groups = spec.filter_groups(self.arithmetic.lanes, plan.vectors)
        self.image, self.group = task // (groups * strips), task // strips % groups
        self.first = task % strips * plan.rows
        self.count = T.min(plan.rows, spec.out_height - self.first)
        self._ends(self._start)
        with T.serial(0, spec.kernel[0]) as kh:
            for first in range(0, spec.kernel[1], plan.columns):
                self._pass(kh, range(first, first + plan.columns))
        self._ends(self._store)

    def _channel(self, vector: int) -> Expr:
        """The first filter of a vector."""
        return (self.group * self.plan.vectors + vector) * self.arithmetic.lanes

    def _place(self, local: Expr, column: Expr, vector: int) -> Expr:
        """Where a sum lies."""
        pixel = local * self.spec.out_width + column
        return (pixel * self.plan.vectors + vector) * self.arithmetic.lanes

    def _ends(self, body: Callable[[Expr, Expr, tuple[int, ...]], None]) -> None:
        """`body(row of the strip, column, taps inside the image there)` for every pixel of the strip."""
        with T.serial(0, self.count) as local:
            for run in self.runs:
                with T.serial(0, run.tiles) as tile:
                    for r in range(run.size):
                        taps = tuple(kw for kw, first, last in run.taps if first <= r < last)
                        body(local, run.start + tile * run.size + r, taps)

    def _start(self, local: Expr, column: Expr, taps: tuple[int, ...]) -> None:
        rows = kernel_rows(self.spec, self.first + local)
        for v in range(self.plan.vectors):
            start = self.finish.start(self._channel(v), rows, taps)
            store(self.sums, self._place(local, column, v), start, self.arithmetic.lanes)

    def _store(self, local: Expr, column: Expr, taps: tuple[int, ...]) -> None:
        lanes, pixel = self.arithmetic.lanes, (self.first + local) * self.spec.out_width + column
        places = [self._place(local, column, v) for v in range(self.plan.vectors)]
        totals = (hold(load(self.sums, at, lanes), lanes, self.arithmetic.dtype) for at in places)
        self.finish.store_all(totals, self.image, pixel, self._channel(0))

    def _pass(self, kh: Expr, columns: range) -> None:
        """One kernel row's taps of `columns`, added to the sums of all rows of the strip."""
        with T.serial(0, self.count) as local:
            low, high = kernel_rows(self.spec, self.first + local)
            with when((kh >= low) & (kh < high)):
                for run in self.runs:
                    taps = [tap for tap in run.taps if tap[0] in columns]
                    if taps:
                        with T.serial(0, run.tiles) as tile:
                            self._tile(kh, local, run, tile, taps)

    def _tile(self, kh: Expr, local: Expr, run: Run, tile: Expr, taps: list[tuple[int, int, int]]) -> None:
        """acc[r][v] += image . weights of each tap, over the channels, for the pixels it is valid for."""
        vectors, lanes, column = self.plan.vectors, self.arithmetic.lanes, run.start + tile * run.size
        acc = self.arithmetic.registers(run.size * vectors)
        places = [self._place(local, column + at // vectors, at % vectors) for at in range(acc.count)]
        for at, place in enumerate(places):
            acc[at] = load(self.sums, place, lanes)
        number = local * run.tiles + tile
        for tap in taps:
            with T.serial(0, self.blocks_in) as cb:
                self._ask(
                    kh, tap[0], number * self.blocks_in + cb, asks=run is self.longest and tap is taps[0]
                )
                self._quads(acc, cb, (kh, local, column), tap)
        for at, place in enumerate(places):
            store(self.sums, place, acc[at], lanes)

    def _weight(self, kh: Expr, kw: int) -> Expr:
        """The first byte of a tap's weights."""
        taps = self.spec.kernel[0] * self.spec.kernel[1]
        return (self.group * taps + kh * self.spec.kernel[1] + kw) * self.tap

    def _ask(self, kh: Expr, kw: int, number: Expr, *, asks: bool) -> None:
        """Prefetches a share of the next pass's weights, which the first row of the strip would wait for."""
        start = self._weight(kh, kw) + self.plan.columns * self.tap
        for line in range(self.plan.ahead if asks else 0):
            prefetch(self.weights, start + (number * self.plan.ahead + line) * _LINE, 2)

    def _quads(self, acc: Any, cb: Expr, at: tuple[Expr, Expr, Expr], tap: tuple[int, int, int]) -> None:
        """One block of channels of one tap."""
        spec, arithmetic, vectors = self.spec, self.arithmetic, self.plan.vectors
        (kh, local, column), (kw, first, last) = at, tap
        row = (self.first + local) * spec.strides[0] - spec.pads[0] + kh * spec.dilations[0]
        line = ((self.image * self.blocks_in + cb) * spec.height + row) * spec.width
        start = (line + column * spec.strides[1] - spec.pads[1] + kw * spec.dilations[1]) * self.block
        for quad in range(0, self.block // QUAD, arithmetic.at_once):
            place = self._weight(kh, kw) + (cb * (self.block // QUAD) + quad) * (vectors * arithmetic.width)
            pixels = range(first, last)
            elements = {r: start + r * (spec.strides[1] * self.block) + quad * QUAD for r in pixels}
            arithmetic.multiply(
                acc, (self.data, elements), (self.weights, place), vectors, arithmetic.at_once
            )
