"""Dense layers, y = x W, by panels of output columns: what floats and bytes share.

A batch of one is bound by reading the weights once: a task streams one panel,
which is packed in the order in which it is read. It sums several chains of
inputs apart, which hides latency and loses less to rounding than one long chain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...rounding import up
from ...tir import T, fence, splat, store, view
from ...vector.streams import MOST, Stream, held
from ..conv.arithmetic import Arithmetic
from ..conv.rows_by_element import RowsByElement

Expr = Any
Buffer = Any
Registers = Any
Array = NDArray[Any]

_CHAINS = 4  # of partial sums, with a batch of one


@dataclass(frozen=True)
class Panels:
    """Register tile of `rows` batch rows by `vectors` vectors of outputs."""

    rows: int
    vectors: int


@dataclass(frozen=True)
class DensePlan:
    """(batch, inputs) by (inputs, outputs), row-major, in register tiles; a task is one tile."""

    batch: int
    inputs: int
    outputs: int
    panels: Panels
    arithmetic: Arithmetic

    @property
    def width(self) -> int:
        """Outputs of a whole panel."""
        return self.panels.vectors * self.arithmetic.lanes

    @property
    def row_tasks(self) -> int:
        return -(-self.batch // self.panels.rows)

    @property
    def tasks(self) -> int:
        return -(-self.outputs // self.width) * self.row_tasks

    @property
    def words(self) -> dict[str, str]:
        """What cuts the work (see `Primitive.tiling`)."""
        panels, vectors = self.panels, -(-self.outputs // self.arithmetic.lanes)
        return {
            "register tile": f"{panels.rows} rows x {panels.vectors} vectors of outputs",
            "vector of the processor": f"{vectors} of {self.arithmetic.lanes} outputs",
        }

    def pack(self, weights: Array) -> Array:
        """(inputs, outputs) to [panel][step][vector and lane][channel of a step].

        The last panel may be narrower.
        """
        full = self.outputs // self.width * self.width
        vectors = -(-(self.outputs - full) // self.arithmetic.lanes)
        parts = [(weights[:, :full], self.panels.vectors), (weights[:, full:], vectors)]
        return np.concatenate([self._packed(part, count) for part, count in parts if part.size])

    def _packed(self, weights: Array, vectors: int) -> Array:
        arithmetic, filters = self.arithmetic, up(weights.shape[1], vectors * self.arithmetic.lanes)
        return arithmetic.pack(weights.T[:, :, None, None], vectors, arithmetic.step, filters).reshape(-1)


class PanelNest(ABC):
    """Emits the tiles of the tasks that a kernel is called for."""

    def __init__(self, plan: DensePlan, data: Buffer, weights: Buffer, workspace: Buffer) -> None:
        self.plan, self.arithmetic, self.lanes = plan, plan.arithmetic, plan.arithmetic.lanes
        self.data, self.weights, self.workspace = data, weights, workspace

    @abstractmethod
    def start(self, column: Expr) -> Expr:
        """What the sums of a vector of outputs start at."""

    @abstractmethod
    def store(self, total: Expr, row: Expr, column: Expr, partial: int) -> None:
        """Finishes and stores a vector of outputs; only the first `partial` where that is not 0."""

    def emit(self, begin: Expr, end: Expr) -> None:
        """The tasks begin <= t < end."""
        plan, height = self.plan, self.plan.panels.rows
        whole, rest = divmod(plan.batch, height)
        with T.serial(begin, end) as task:
            panel, row = task // plan.row_tasks, task % plan.row_tasks * height
            for rows, first, last in ((height, 0, whole), (rest, whole, plan.row_tasks)):
                if first == last:
                    continue
                with T.If((row >= first * height) & (row < last * height)), T.Then():
                    self._columns(panel, row, rows)

    def _columns(self, panel: Expr, row: Expr, rows: int) -> None:
        """A whole panel, or what is left of the outputs after the last whole one."""
        width, vectors = self.plan.width, self.plan.panels.vectors
        whole, rest = divmod(self.plan.outputs, width)
        narrow = (-(-rest // self.lanes), rest % self.lanes)
        if not rest:
            self._tile(panel * width, row, rows, vectors, 0)
        elif not whole:
            self._tile(0, row, rows, *narrow)
        else:
            with T.If(panel < whole):
                with T.Then():
                    self._tile(panel * width, row, rows, vectors, 0)
                with T.Else():
                    self._tile(whole * width, row, rows, *narrow)

    def _tile(self, column: Expr, row: Expr, rows: int, vectors: int, partial: int) -> None:
        """`rows` by `vectors` results; the last vector holds only `partial` outputs where that is not 0."""
        count = rows * vectors
        sums = [self.arithmetic.registers(count) for _ in range(_CHAINS if rows == 1 else 1)]
        for chain in sums[1:]:
            chain.fill(0)
        for at in range(count):
            sums[0][at] = self.start(column + at % vectors * self.lanes)
        self._products(sums, column, row, rows, vectors)
        for at in range(count * (len(sums) > 1)):
            sums[0][at] = (sums[0][at] + sums[1][at]) + (sums[2][at] + sums[3][at])
        for at in range(count):
            place = (row + at // vectors, column + at % vectors * self.lanes)
            self.store(sums[0][at], *place, partial if at % vectors == vectors - 1 else 0)

    def _products(self, sums: list[Registers], column: Expr, row: Expr, rows: int, vectors: int) -> None:
        inputs, step = self.plan.inputs, self.arithmetic.step
        panel, steps = column * up(inputs, step), inputs // step
        width = vectors * self.arithmetic.width

        def add(k: Expr, chain: int) -> None:
            starts = [(row + r) * inputs + k * step for r in range(rows)]
            self._step(sums[chain % len(sums)], self.data, starts, panel + k * width, vectors)

        if isinstance(self.arithmetic, RowsByElement):
            done = self._streamed(self.arithmetic, sums, row * inputs, panel, vectors)
        else:
            done = steps // _CHAINS * _CHAINS
            self._chained(sums, row, rows, panel, vectors, add)
        for k in range(done, steps):
            add(k, k)
        if inputs % step:
            self._rest(sums[0], row, rows, panel + steps * width, vectors)

    def _chained(
        self,
        sums: list[Registers],
        row: Expr,
        rows: int,
        panel: Expr,
        vectors: int,
        add: Callable[[Expr, int], None],
    ) -> None:
        """The steps of whole rounds through all chains."""
        inputs, step, width = self.plan.inputs, self.arithmetic.step, vectors * self.arithmetic.width
        if inputs // step < _CHAINS:
            return
        with T.serial(0, inputs // step // _CHAINS) as outer:
            if self.arithmetic.data == "uint8" and self.arithmetic.at_once == _CHAINS:
                starts = {r: (row + r) * inputs + outer * (_CHAINS * step) for r in range(rows)}
                self._together(sums, starts, panel + outer * (_CHAINS * width), vectors)
            else:
                for inner in range(_CHAINS):
                    add(outer * _CHAINS + inner, inner)

    def _streamed(
        self, arithmetic: RowsByElement, sums: list[Registers], first: Expr, panel: Expr, vectors: int
    ) -> int:
        """The inputs of one row, in whole loads of several vectors, and the weights as streams; how many."""
        several = MOST * self.lanes
        if self.plan.inputs < several:
            return 0
        data = Stream(self.data, first, self.lanes, arithmetic.data)
        weights = Stream(self.weights, panel, self.lanes, arithmetic.weight)
        order = [(k, v) for k in range(several) for v in range(vectors)]
        with T.serial(0, self.plan.inputs // several):
            inputs = data.take(MOST)
            for at in range(0, len(order), MOST):
                chunk = order[at : at + MOST]
                for (k, v), weight in zip(chunk, weights.take(len(chunk)), strict=True):
                    element = splat(T.Shuffle([inputs[k // self.lanes]], [k % self.lanes]), self.lanes)
                    arithmetic.accumulate(sums[k % _CHAINS], v, element, weight)
                for chain in {k % _CHAINS: None for k, _ in chunk}:
                    held(sums[chain])
        return self.plan.inputs // several * several

    def _together(self, sums: list[Registers], starts: dict[int, Expr], weight: Expr, vectors: int) -> None:
        """A step of each chain, whose inputs are loaded at once."""
        arithmetic, width = self.arithmetic, vectors * self.arithmetic.width
        loaded = {r: arithmetic.elements(self.data, at, _CHAINS) for r, at in starts.items()}
        for k in range(_CHAINS):
            of_step = {r: of_steps[k] for r, of_steps in loaded.items()}
            arithmetic.multiply_prepared(
                sums[k % len(sums)], of_step, (self.weights, weight + k * width), vectors
            )
            fence(self.data, self.weights)

    def _rest(self, acc: Registers, row: Expr, rows: int, weight: Expr, vectors: int) -> None:
        """The last inputs, fewer than a step: beside zeros, as nothing behind a row may be read."""
        step, inputs = self.arithmetic.step, self.plan.inputs
        scratch, count = view(self.workspace, self.arithmetic.data), inputs % step
        for r in range(rows):
            first = (row + r + 1) * inputs - count
            for i in range(step):
                store(scratch, r * step + i, self.data[first + i] if i < count else 0, 1)
        self._step(acc, scratch, [r * step for r in range(rows)], weight, vectors)

    def _step(self, acc: Registers, data: Buffer, starts: list[Expr], weight: Expr, vectors: int) -> None:
        """acc[r][v] += the inputs of a step at starts[r] times the weights of vector v."""
        self.arithmetic.multiply(acc, (data, dict(enumerate(starts))), (self.weights, weight), vectors)
        fence(data, self.weights)
