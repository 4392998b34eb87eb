"""Dense layers with constant weights: y = x W, row-major, by panels of output columns.

A batch of one is bound by reading the weights once: a task streams one panel,
which is packed in the order in which it is read. It sums four chains of inputs
apart, which hides latency and loses less to rounding than one long chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import epilogue
from ..kernel import Kernel
from ..targets import Target
from .base import DenseSpec, Floats, seconds, up
from .conv_ending import pointers, split_buffers
from .conv_plan import KernelSpec, max_pixels

Expr = Any
Buffer = Any

_CHAINS = 4  # of partial sums, with a batch of one


@dataclass(frozen=True)
class Panels:
    """Register tile of `rows` batch rows by `vectors` vectors of outputs."""

    rows: int
    vectors: int


@dataclass(frozen=True)
class Dense:
    """Gemm and MatMul with a constant right-hand side."""

    name: str = "dense"

    def applicable(self, spec: DenseSpec, target: Target) -> str | None:
        return None if min(spec.batch, spec.inputs, spec.outputs) > 0 else "an empty operand"

    def workspace(self, spec: DenseSpec, target: Target) -> int:
        return 4 * target.lanes

    def estimate(self, spec: DenseSpec, target: Target) -> float:
        macs = up(spec.batch, self.panels(spec, target).rows) * spec.inputs * up(spec.outputs, target.lanes)
        return seconds(target, macs, 0.75 if spec.batch > 1 else 0.4, 4.0 * spec.inputs * spec.outputs) + 1e-6

    def pack(
        self, spec: DenseSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        """`weights` are (inputs, outputs): to [panel][input][vector and lane], padded to whole vectors."""
        lanes, width = target.lanes, self.panels(spec, target).vectors * target.lanes
        full = spec.outputs // width * width
        parts = [weights[:, :full].reshape(spec.inputs, -1, width).transpose(1, 0, 2).ravel()]
        rest = np.zeros((spec.inputs, up(spec.outputs - full, lanes)), np.float32)
        rest[:, : spec.outputs - full] = weights[:, full:]
        packed = np.concatenate([*parts, rest.ravel()]).astype(np.float32)
        if bias is None:
            return (packed,)
        padded = np.zeros(up(spec.outputs, lanes), np.float32)
        padded[: spec.outputs] = bias
        return packed, padded

    def kernel(self, spec: DenseSpec, target: Target) -> Kernel:
        panels, lanes = self.panels(spec, target), target.lanes
        tasks = -(-spec.outputs // (panels.vectors * lanes)) * -(-spec.batch // panels.rows)
        key = KernelSpec(self.name, spec, panels, lanes)
        return Kernel(
            self.name, key, lambda: _build(spec, panels, lanes), tasks, self.workspace(spec, target)
        )

    def panels(self, spec: DenseSpec, target: Target) -> Panels:
        registers = target.isa.vector_registers
        vectors = min(4, -(-spec.outputs // target.lanes)) if spec.batch < registers // 4 else 2
        return Panels(min(spec.batch, max_pixels(registers, vectors)), vectors)


def _build(spec: DenseSpec, panels: Panels, lanes: int) -> Any:
    from ..tvm_adapter import T, prim_func

    width = panels.vectors * lanes
    columns, rows = divmod(spec.outputs, width), divmod(spec.batch, panels.rows)
    row_tasks = rows[0] + (rows[1] > 0)

    def body(*args: Any) -> None:
        *inputs, output, workspace, begin, end = args
        nest = _Nest(spec, lanes, tuple(inputs), output, workspace)
        with T.serial(begin, end) as task:
            panel, row = task // row_tasks, task % row_tasks * panels.rows
            for count, first, last in ((panels.rows, 0, rows[0]), (rows[1], rows[0], row_tasks)):
                if first == last:
                    continue
                with T.If((row >= first * panels.rows) & (row < last * panels.rows)), T.Then():
                    _columns(nest, panel, row, count, columns, panels.vectors)

    return prim_func(pointers(spec), body)


def _columns(nest: _Nest, panel: Expr, row: Expr, rows: int, columns: tuple[int, int], vectors: int) -> None:
    """A whole panel, or what is left of the outputs after the last whole one."""
    from ..tvm_adapter import T

    whole, rest = columns
    if not rest:
        nest.tile(panel, row, rows, vectors, 0)
    elif not whole:
        nest.tile(panel, row, rows, -(-rest // nest.lanes), rest % nest.lanes)
    else:
        with T.If(panel < whole):
            with T.Then():
                nest.tile(panel, row, rows, vectors, 0)
            with T.Else():
                nest.tile(
                    panel, row, rows, -(-rest // nest.lanes), rest % nest.lanes, whole * vectors * nest.lanes
                )


class _Nest:
    """Emits register tiles of one dense layer."""

    def __init__(
        self, spec: DenseSpec, lanes: int, inputs: tuple[Buffer, ...], output: Buffer, workspace: Buffer
    ) -> None:
        self.spec, self.lanes, self.output, self.workspace = spec, lanes, output, workspace
        self.data, self.extras, constants = split_buffers(spec, inputs)
        self.weights = constants[0]
        self.bias = constants[1] if spec.bias else None

    def tile(
        self, panel: Expr, row: Expr, rows: int, vectors: int, partial: int, column: Expr = None
    ) -> None:
        """`rows` by `vectors` results; the last vector holds only `partial` outputs where that is not 0."""
        from ..tvm_adapter import Registers, T, load

        lanes, width = self.lanes, vectors * self.lanes
        column = panel * width if column is None else column
        start = column * self.spec.inputs
        chains = _CHAINS if rows == 1 else 1
        sums = [Registers(rows * vectors, lanes) for _ in range(chains)]
        for chain in sums:
            chain.fill(0.0)
        acc = sums[0]
        if self.bias is not None:
            for at in range(rows * vectors):
                acc[at] = load(self.bias, column + at % vectors * lanes, lanes)
        for first, steps, unroll in _chunks(self.spec.inputs):
            with T.serial(0, steps) as outer:
                for inner in range(unroll):
                    k = first + outer * unroll + inner
                    self._step(sums[inner % chains], row, rows, vectors, k, start + k * width)
        for at in range(rows * vectors * (chains > 1)):
            acc[at] = (sums[0][at] + sums[1][at]) + (sums[2][at] + sums[3][at])
        for at in range(rows * vectors):
            self._store(
                acc[at],
                row + at // vectors,
                column + at % vectors * lanes,
                partial if at % vectors == vectors - 1 else 0,
            )

    def _step(self, acc: Any, row: Expr, rows: int, vectors: int, k: Expr, weight: Expr) -> None:
        from ..tvm_adapter import T, load, splat

        lanes = self.lanes
        for r in range(rows):
            element = splat(self.data[(row + r) * self.spec.inputs + k], lanes)
            for v in range(vectors):
                acc[r * vectors + v] = T.fma(
                    element, load(self.weights, weight + v * lanes, lanes), acc[r * vectors + v]
                )

    def _store(self, value: Expr, row: Expr, column: Expr, partial: int) -> None:
        from ..tvm_adapter import T, load, store

        index = row * self.spec.outputs + column
        if not partial:
            store(self.output, index, self._finish(value, index, column, self.lanes), self.lanes)
            return
        store(self.workspace, 0, value, self.lanes)
        with T.serial(0, partial) as i:
            store(
                self.output, index + i, self._finish(load(self.workspace, i, 1), index + i, column + i, 1), 1
            )

    def _finish(self, value: Expr, index: Expr, column: Expr, lanes: int) -> Expr:
        from ..tvm_adapter import load, splat

        def operand(i: int) -> Expr:
            kind = self.spec.extras[i]
            if kind == "scalar":
                return splat(self.extras[i][0], lanes)
            return load(self.extras[i], index if kind == "full" else column, lanes)

        return epilogue.apply(self.spec.epilogue, value, operand, lanes)


def _chunks(total: int) -> list[tuple[int, int, int]]:
    """(start, steps, unroll) that cover `total` in steps of 4, then the rest at once."""
    whole = total // 4 * 4
    return [c for c in ((0, whole // 4, 4), (whole, 1, total - whole)) if c[1] and c[2]]


DENSE = Dense()
