"""Depthwise convolution on blocked channels: every lane filters its own, in float32 or in exact int32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target
from secateur.codegen.tir import Registers, T, load, opaque, prim_func, when

from ....rounding import up
from ....vector.shuffles import hold
from ....vector.streams import MOST, Stream, distance, held, last_load
from ...specs import ConvSpec, Floats, layout_block, seconds
from ..ending import kernel_pointers, opened
from ..plan import KernelSpec, Run, largest_part, row_runs
from ..tile import columns_of, kernel_rows, pack_bias
from ..wide import inside, row_taps

Expr = Any
Buffer = Any
Array = NDArray[Any]

_AHEAD = 8  # registers for what is loaded ahead
_ENDING = 6.5  # operations that begin a vector of byte sums and make bytes of it


@dataclass(frozen=True)
class Arithmetic(ABC):
    """What a register tile computes with, in vectors of `lanes`."""

    lanes: int

    prefix = ""  # of a kernel's name
    dtype = "float32"  # of sums
    weight = "float32"

    @abstractmethod
    def seconds(self, spec: ConvSpec, target: Target) -> float:
        """By the analytic model, without the kernel's start."""

    @abstractmethod
    def pixels(self, target: Target) -> int:
        """Output pixels of the largest register tile."""

    @abstractmethod
    def operand(self, buffer: Buffer, index: Expr) -> Expr:
        """One vector of pixels' channels, or of weights."""

    @abstractmethod
    def added(self, total: Expr, value: Expr, weights: Expr) -> Expr:
        """total + value * weights."""


class Float32(Arithmetic):
    """By fused multiply-add."""

    def seconds(self, spec: ConvSpec, target: Target) -> float:
        pixels = spec.batch * (spec.height * spec.width + spec.pixels)
        macs = spec.macs / spec.channels * up(spec.channels, target.lanes)
        traffic = max(0, spec.element_bytes * pixels * spec.channels - target.l2_bytes) / 2
        together = largest_part(spec.out_width, self.pixels(target))
        held = holds_weights(spec, together, self, target)
        return seconds(target, macs, efficiency(target, held), traffic)

    def pixels(self, target: Target) -> int:
        return target.isa.vector_registers // 4

    def operand(self, buffer: Buffer, index: Expr) -> Expr:
        return load(buffer, index, self.lanes)

    def added(self, total: Expr, value: Expr, weights: Expr) -> Expr:
        return T.fma(value, weights, total)


class Float16(Float32):
    """The same in binary16, sums too."""

    dtype = "float16"
    weight = "float16"


class Int8(Arithmetic):
    """Bytes times weights, both widened."""

    prefix = "linear_"
    dtype = "int32"
    weight = "int16"

    def seconds(self, spec: ConvSpec, target: Target) -> float:
        channels = up(spec.channels, layout_block(spec.in_layout))
        results = spec.batch * spec.pixels * channels
        macs = spec.macs / spec.channels * channels
        if target.isa.narrowing is None:
            # Where loads do not widen bytes, that is one more operation for each multiplication.
            return seconds(target, 2 * macs + 8 * results, 1.0 if target.isa.loads else 0.5, float(results))
        cycles = self._tap_cycles(spec, target) * macs + _ENDING / _rate(target) * results
        return seconds(target, cycles * target.fma_per_cycle, 1.0, float(results))

    def _tap_cycles(self, spec: ConvSpec, target: Target) -> float:
        """Of a product of vectors. One pipeline multiplies; pixels of several taps are widened once."""
        pixels = largest_part(spec.out_width, self.pixels(target))
        columns = (pixels - 1) * spec.strides[1] + spec.kernel[1]
        widened = columns / (2 * pixels * spec.kernel[1])
        return max(1 / min(1.0, _rate(target)), (1 + widened) / _rate(target))

    def pixels(self, target: Target) -> int:
        """Where 16 lanes take four registers, half of all hold sums; pixels share what is widened."""
        registers = target.isa.vector_registers
        return registers // 8 if target.isa.narrowing else max(2, registers * target.lanes // 64)

    def operand(self, buffer: Buffer, index: Expr) -> Expr:
        return load(buffer, index, self.lanes).astype(f"int32x{self.lanes}")

    def added(self, total: Expr, value: Expr, weights: Expr) -> Expr:
        return total + value * weights


def _rate(target: Target) -> float:
    """Operations a cycle on vectors of whole numbers: cores that multiply bytes in one pipeline have two."""
    return target.rates.dot_per_cycle or max(target.isa.dot.rate or 0.0, target.fma_per_cycle)


def arithmetic_of(spec: ConvSpec, target: Target) -> Arithmetic:
    """Vectors of bytes are a block wide, but where floats are stored."""
    if spec.element_bytes == 1:
        return Int8(layout_block(spec.out_layout))
    return Float16(target.lanes) if spec.dtype == "float16" else Float32(target.lanes)


def efficiency(target: Target, held: bool) -> float:
    """A share of the multiply-adds that the target can do, start and end of tiles included.

    Where the multiplication itself loads an operand, there is less else to do; or where weights are `held`
    and a tile is one block of code (llvm-mca without borders and epilogue: 0.70 on a Cortex-A53, else 0.9).
    """
    return 0.6 if target.isa.loads else 0.65 if held else 0.35


def tap_cycles(pixels: int, target: Target, held: bool) -> float:
    """Cycles of one tap of `pixels` pixels of floats."""
    return pixels / (target.fma_per_cycle * efficiency(target, held))


def pack_taps(weights: Array, block: int, dtype: str) -> Array:
    """Weights (channels, 1, kh, kw) as (blocks, kh, kw, channel of a block), zero past the last channel."""
    channels, _, kh, kw = weights.shape
    padded = np.zeros((up(channels, block), kh, kw), dtype)
    padded[:channels] = weights[:, 0]
    return np.ascontiguousarray(padded.reshape(-1, block, kh, kw).transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class Depthwise:
    """One filter for each channel: a vector of channels times a vector of weights for each tap."""

    name: str = "depthwise"

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if not spec.groups == spec.channels == spec.filters:
            return f"{spec.groups} groups of {spec.channels} channels and {spec.filters} filters"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (spec.blocked_layouts(target),)

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        return 0

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        return arithmetic_of(spec, target).seconds(spec, target) + 2e-6

    def tiling_words(self, spec: ConvSpec, target: Target) -> dict[str, str]:
        """What cuts the work, in words (see `Primitive.tiling`)."""
        return {"register tile": f"{self.pixels(spec, target)} pixels x 1 vector of channels"}

    def pack(self, spec: ConvSpec, target: Target, weights: Array, bias: Floats | None) -> tuple[Array, ...]:
        packed = pack_taps(weights, layout_block(spec.in_layout), arithmetic_of(spec, target).weight)
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        arithmetic, pixels, block = (
            arithmetic_of(spec, target),
            self.pixels(spec, target),
            layout_block(spec.in_layout),
        )
        name = arithmetic.prefix + self.name
        kept = holds_weights(spec, pixels, arithmetic, target)
        kind = _Streams if _streams(spec, pixels, arithmetic, target) else _Held if kept else _Nest
        key = KernelSpec(name, spec, (pixels, kept), arithmetic.lanes)
        tasks = spec.batch * up(spec.channels, block) // block * spec.out_height
        return Kernel(name, key, partial(_build, spec, pixels, arithmetic, kind), tasks)

    def pixels(self, spec: ConvSpec, target: Target) -> int:
        """Of a register tile."""
        arithmetic, taps = arithmetic_of(spec, target), spec.kernel[0] * spec.kernel[1]
        fewest = largest_part(spec.out_width, arithmetic.pixels(target))
        if not _streams(spec, fewest, arithmetic, target):
            return fewest
        most = target.isa.vector_registers - taps - 2 * MOST * spec.strides[1]
        return largest_part(spec.out_width, max(most, arithmetic.pixels(target)))


def holds_weights(spec: ConvSpec, pixels: int, arithmetic: Arithmetic, target: Target) -> bool:
    """Whether a row's tiles share weights in registers, beside the sums and pixels that are loaded ahead."""
    taps = spec.kernel[0] * spec.kernel[1]
    fits = taps + pixels + _AHEAD <= target.isa.vector_registers
    return fits and not spec.wide and arithmetic.dtype != "int32"


def _streams(spec: ConvSpec, pixels: int, arithmetic: Arithmetic, target: Target) -> bool:
    """Whether rows are streams: pixels side by side read every column between their first and their last."""
    every = spec.dilations[1] == 1 and spec.strides[1] <= spec.kernel[1]
    return every and target.isa.streams and holds_weights(spec, pixels, arithmetic, target)


def _build(spec: ConvSpec, pixels: int, arithmetic: Arithmetic, kind: type[_Nest]) -> Any:
    weights = ("weights", arithmetic.weight)
    pointers = [weights if "weights" in (p, p[0]) else p for p in kernel_pointers(spec)]

    def body(*args: Any) -> None:
        *buffers, _, begin, end = args
        nest = kind(spec, pixels, arithmetic, tuple(buffers))
        with T.serial(begin, end) as task:
            nest.task(task)

    return prim_func(pointers, body)


class _Nest:
    """Emits one task: an output row of a block of channels, in tiles along the row."""

    def __init__(
        self, spec: ConvSpec, pixels: int, arithmetic: Arithmetic, buffers: tuple[Buffer, ...]
    ) -> None:
        self.spec, self.arithmetic, self.lanes = spec, arithmetic, arithmetic.lanes
        self.data, self.weights, self.finish = opened(spec, self.lanes, buffers)
        self.block = layout_block(spec.in_layout)
        self.blocks = up(spec.channels, self.block) // self.block
        self.runs = row_runs(spec, 0, spec.out_width, pixels)

    def task(self, task: Expr) -> None:
        self._row(task // self.spec.out_height, task % self.spec.out_height)

    def _row(self, plane: Expr, row: Expr) -> None:
        """All tiles of a row of the result."""
        for run in self.runs:
            with T.serial(0, run.tiles) as tile:
                for lane in range(0, self.block, self.lanes):
                    first = plane % self.blocks * self.block + lane
                    # The result may have no such block.
                    with when(first < self.spec.channels) if lane else nullcontext():
                        self._tile(run, plane, row, run.start + tile * run.size, lane)

    def _tile(self, run: Run, plane: Expr, row: Expr, column: Expr, lane: int) -> None:
        """`run.size` output pixels of one row in registers."""
        spec, block, rows = self.spec, plane % self.blocks, kernel_rows(self.spec, row)
        acc = self._begun(run, plane, row, column, lane)
        with T.serial(*rows) as kh:
            line = self._line(plane, row, column, lane, kh)
            first = (block * spec.kernel[0] + kh) * spec.kernel[1]
            row_taps(spec, run, column, partial(self._tap, acc, line, first, lane))
        self._store(acc, run, plane, row, column, lane)

    def _begun(self, run: Run, plane: Expr, row: Expr, column: Expr, lane: int) -> Registers:
        acc, channel = self._sums(run), plane % self.blocks * self.block + lane
        for r in range(run.size):
            taps = inside(self.spec, run, column, r)
            acc[r] = self.finish.start(channel, kernel_rows(self.spec, row), taps)
        return acc

    def _sums(self, run: Run) -> Registers:
        return Registers(run.size, self.lanes, self.arithmetic.dtype)

    def _store(self, acc: Registers, run: Run, plane: Expr, row: Expr, column: Expr, lane: int) -> None:
        for r in range(run.size):
            pixel = row * self.spec.out_width + column + r
            channel = plane % self.blocks * self.block + lane
            self.finish.store(acc[r], plane // self.blocks, pixel, channel)

    def _line(self, plane: Expr, row: Expr, column: Expr, lane: int, kh: Expr) -> Expr:
        """Where the first pixel that a tile reads lies, in a row of the kernel."""
        return opaque(self._place(plane, row, column, kh) + lane)

    def _place(self, plane: Expr, row: Expr, column: Expr, kh: Expr) -> Expr:
        spec = self.spec
        read = row * spec.strides[0] - spec.pads[0] + kh * spec.dilations[0]
        line = (plane * spec.height + read) * spec.width + column * spec.strides[1] - spec.pads[1]
        return line * self.block

    def _tap(self, acc: Registers, line: Expr, first: Expr, lane: int, kw: Expr, pixels: range) -> None:
        weights = self.arithmetic.operand(self.weights, (first + kw) * self.block + lane)
        self._multiply(acc, line, weights, kw, pixels)

    def _multiply(self, acc: Registers, line: Expr, weights: Expr, kw: Expr, pixels: range) -> None:
        for r in pixels:
            pixel = line + (kw * self.spec.dilations[1] + r * self.spec.strides[1]) * self.block
            value = self.arithmetic.operand(self.data, pixel)
            acc[r] = self.arithmetic.added(acc[r], value, weights)


class _Held(_Nest):
    """Where no tap lies above or below the image, a row's tiles share weights in registers."""

    def task(self, task: Expr) -> None:
        plane, row = task // self.spec.out_height, task % self.spec.out_height
        top, spec = row * self.spec.strides[0] - self.spec.pads[0], self.spec
        with T.If((top >= 0) & (top + spec.span(0) <= spec.height)):
            with T.Then():
                self._inner(plane, row, self._taps(plane))
            with T.Else():
                self._row(plane, row)

    def _taps(self, plane: Expr) -> list[Expr]:
        """All weights of the only vector of a block, each in a register."""
        taps = self.spec.kernel[0] * self.spec.kernel[1]
        first = plane % self.blocks * taps
        weights = [self.arithmetic.operand(self.weights, (first + t) * self.block) for t in range(taps)]
        return [hold(weight, self.lanes, self.arithmetic.weight) for weight in weights]

    def _inner(self, plane: Expr, row: Expr, taps: list[Expr]) -> None:
        """The row, with all `taps`."""
        for run in self.runs:
            with T.serial(0, run.tiles) as tile:
                column = run.start + tile * run.size
                acc = self._begun(run, plane, row, column, 0)
                for kh in range(self.spec.kernel[0]):
                    line, of_row = self._line(plane, row, column, 0, kh), taps[kh * self.spec.kernel[1] :]
                    row_taps(self.spec, run, column, partial(self._add, acc, line, of_row))
                self._store(acc, run, plane, row, column, 0)

    def _add(self, acc: Registers, line: Expr, taps: list[Expr], kw: int, pixels: range) -> None:
        self._multiply(acc, line, taps[kw], kw, pixels)


class _Streams(_Held):
    """The same, and the rows that it reads are streams, which a run of tiles goes on along."""

    def _inner(self, plane: Expr, row: Expr, taps: list[Expr]) -> None:
        spec, size = self.spec, self.spec.element_bytes * self.lanes
        for run in self.runs:
            columns = columns_of(spec, run)
            begin = len(columns) - last_load(len(columns))
            on = distance((run.size * spec.strides[1] - begin) * size) if run.tiles > 1 else None
            lines = [self._stream(plane, row, run.start, kh, columns) for kh in range(spec.kernel[0])]
            with T.serial(0, run.tiles) as tile:
                column = run.start + tile * run.size
                acc = self._begun(run, plane, row, column, 0)
                for kh, line in enumerate(lines):
                    self._columns(acc, run, line, taps[kh * spec.kernel[1] :], on)
                self._store(acc, run, plane, row, column, 0)

    def _stream(self, plane: Expr, row: Expr, column: int, kh: int, columns: range) -> Stream:
        """A row of the kernel, from the first column that a run reads."""
        first = self._place(plane, row, column, kh) + columns.start * self.block
        return Stream(self.data, first, self.lanes, self.arithmetic.dtype)

    def _columns(self, acc: Registers, run: Run, line: Stream, taps: list[Expr], on: Expr) -> None:
        """Some columns are loaded, and multiplied by all taps that see them."""
        columns, most = columns_of(self.spec, run), MOST * self.spec.strides[1]
        for first in range(0, len(columns), most):
            some = columns[first : first + most]
            loaded = line.take(len(some), on if some[-1] == columns[-1] else None)
            self._multiply_columns(acc, run, dict(zip(some, loaded, strict=True)), taps)
            held(acc)

    def _multiply_columns(
        self, acc: Registers, run: Run, columns: Mapping[int, Expr], taps: list[Expr]
    ) -> None:
        for kw, first, last in run.taps:
            for r in range(first, last):
                read = r * self.spec.strides[1] + kw * self.spec.dilations[1]
                if read in columns:
                    acc[r] = self.arithmetic.added(acc[r], columns[read], taps[kw])


DEPTHWISE = Depthwise()
