"""Transposed convolution as a gather: each output pixel sums the input pixels that reach it.

Output columns of equal phase (column modulo stride) are reached by the same
taps from consecutive input columns, so a register tile holds R columns of one
phase and is summed like a convolution of stride 1. Many phases and many taps are loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...kernel import Kernel
from ...rounding import up
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, splat, store
from ..specs import Floats, TransposedSpec, block_name, seconds
from .arithmetic import Float32
from .ending import Finish, pointers, split_buffers
from .plan import KernelSpec, Tiling, bordered_tiles, choose_vectors, largest_part
from .tile import pack_bias, pack_weights, spread_groups, window, window_start
from .wide import each_tap, loop

Expr = Any
Buffer = Any


_MOST_PHASES = 4  # written out one by one


@dataclass(frozen=True)
class PhaseRun:
    """`tiles` tiles of `size` columns `phase + stride * (start + i)`.

    `taps` gives (kw, input column of the run's first output column, first and last + 1 of valid pixels
    in a tile).
    """

    phase: Expr
    start: int
    tiles: int
    size: int
    taps: tuple[tuple[int, int, int, int], ...]
    whole: bool = False  # where phases are loops: every pixel sees every tap that reaches it


@dataclass(frozen=True)
class Transposed:
    """Any kernel, stride, dilation, padding, output padding and groups."""

    name: str = "transposed"

    def applicable(self, spec: TransposedSpec, target: Target) -> str | None:
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def layouts(self, spec: TransposedSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((block_name(target), block_name(target)),)

    def workspace(self, spec: TransposedSpec, target: Target) -> int:
        return 0

    def estimate(self, spec: TransposedSpec, target: Target) -> float:
        lanes, tiling = target.lanes, self.tiling(spec, target)
        read = window(spec, tiling.vectors, lanes, lanes) * lanes
        reached = spec.kernel[0] * spec.kernel[1] / (spec.strides[0] * spec.strides[1])
        macs = spec.batch * spec.pixels * up(spec.filters, lanes) * read * reached
        return seconds(target, macs, 0.6, 4.0 * spec.channels * spec.filters * reached) + 2e-6

    def tiling_words(self, spec: TransposedSpec, target: Target) -> dict[str, str]:
        """What cuts the work, in words (see `Primitive.tiling`)."""
        tiling = self.tiling(spec, target)
        return {"register tile": f"{tiling.pixels} pixels x {tiling.vectors} vectors of filters"}

    def pack(
        self, spec: TransposedSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        """`weights` are (channels, filters / groups, kh, kw)."""
        vectors, lanes = self.tiling(spec, target).vectors, target.lanes
        reads, writes = spec.channels // spec.groups, spec.filters // spec.groups
        split = weights.reshape(spec.groups, reads, writes, *spec.kernel)
        oihw = np.ascontiguousarray(split.transpose(0, 2, 1, 3, 4)).reshape(spec.filters, reads, *spec.kernel)
        if spec.groups > 1:
            oihw = spread_groups(spec, oihw, vectors, lanes, lanes)
        return (pack_weights(oihw, vectors, lanes, lanes), *pack_bias(bias, spec.filters, lanes))

    def kernel(self, spec: TransposedSpec, target: Target) -> Kernel:
        tiling, lanes = self.tiling(spec, target), target.lanes
        tasks = spec.batch * spec.out_height * (up(spec.filters, lanes) // lanes // tiling.vectors)
        key = KernelSpec(self.name, spec, tiling, lanes)
        return Kernel(self.name, key, partial(_build, spec, tiling, lanes), tasks)

    def tiling(self, spec: TransposedSpec, target: Target) -> Tiling:
        columns = -(-spec.out_width // spec.strides[1])
        steps = spec.channels * spec.kernel[0] * spec.kernel[1]
        vectors = choose_vectors(spec, columns, steps, target) if spec.groups == 1 else 1
        widest = Float32(target.lanes).tile_pixels(target.isa.vector_registers, vectors)
        return Tiling(largest_part(columns, widest), vectors)


def phase_runs(spec: TransposedSpec, size: int) -> list[PhaseRun]:
    """All output columns, phase by phase, as runs of tiles with equal sets of valid taps."""
    runs: list[PhaseRun] = []
    for phase in range(min(spec.strides[1], spec.out_width)):
        columns = -(-(spec.out_width - phase) // spec.strides[1])
        for start in range(0, columns, size):
            count = min(size, columns - start)
            taps = _reached(spec, phase, start, count)
            last = runs[-1] if runs else None
            if last and (last.phase, last.size, _shape(last.taps)) == (phase, count, _shape(taps)):
                runs[-1] = PhaseRun(phase, last.start, last.tiles + 1, count, last.taps)
            else:
                runs.append(PhaseRun(phase, start, 1, count, taps))
    return runs


def looped(spec: TransposedSpec) -> bool:
    """Whether phases and taps are gone through in loops: written out, they take too much code."""
    return spec.wide or spec.strides[1] > _MOST_PHASES


def inner_columns(spec: TransposedSpec, columns: int) -> tuple[int, int]:
    """Of `columns` of any phase, the range for which no tap that reaches them leaves the image."""
    (stride, dilation), pad = (spec.strides[1], spec.dilations[1]), spec.pads[1]
    period = stride // math.gcd(stride, dilation)
    taps, back = -(-spec.kernel[1] // period), period * dilation // stride
    first = max(0, (taps - 1) * back - (pad - (period - 1) * dilation) // stride)
    first = min(first, columns)
    return first, min(max(first, spec.width - (stride - 1 + pad) // stride), columns)


def reaching_taps(spec: TransposedSpec, phase: Expr) -> tuple[Expr, int]:
    """The first tap that reaches columns of a phase, and from one to the next; past the last where none does.

    Tap k reaches column c where c + pad - k * dilation is a multiple of the stride: one in each
    `period` of them, if at all.
    """
    stride, dilation = spec.strides[1], spec.dilations[1]
    common = math.gcd(stride, dilation)
    period, place = stride // common, phase + spec.pads[1]
    inverse = pow(dilation // common, -1, period) if period > 1 else 0
    first = place // common * inverse % period
    if common == 1:
        return first, period
    return T.Select(place % common == 0, first, T.int32(spec.kernel[1])), period


def _shape(taps: tuple[tuple[int, int, int, int], ...]) -> list[tuple[int, int, int]]:
    """Taps without their input columns, which differ from tile to tile by the tile's size."""
    return [(kw, first, last) for kw, _, first, last in taps]


def _reached(
    spec: TransposedSpec, phase: int, start: int, count: int
) -> tuple[tuple[int, int, int, int], ...]:
    taps = []
    for kw in range(spec.kernel[1]):
        offset = phase + spec.pads[1] - kw * spec.dilations[1]
        if offset % spec.strides[1]:
            continue
        column = offset // spec.strides[1] + start
        valid = [r for r in range(count) if 0 <= column + r < spec.width]
        if valid:
            taps.append((kw, column, valid[0], valid[-1] + 1))
    return tuple(taps)


def _build(spec: TransposedSpec, tiling: Tiling, lanes: int) -> Any:
    def body(*args: Any) -> None:
        *inputs, output, _, begin, end = args
        data, extras, constants = split_buffers(spec, tuple(inputs))
        finish = Finish(spec, lanes, extras, constants[1] if spec.bias else None)
        nest = _Nest(spec, tiling, lanes, data, constants[0], output, finish)
        with T.serial(begin, end) as task:
            nest.task(task)

    return prim_func(pointers(spec), body)


class _Nest:
    """Emits one task: one output row for one group of `vectors` filter blocks."""

    def __init__(
        self,
        spec: TransposedSpec,
        tiling: Tiling,
        lanes: int,
        data: Buffer,
        weights: Buffer,
        output: Buffer,
        finish: Finish,
    ) -> None:
        self.spec, self.vectors, self.lanes, self.size = spec, tiling.vectors, lanes, tiling.pixels
        self.data, self.weights, self.output, self.finish = data, weights, output, finish
        self.window = window(spec, tiling.vectors, lanes, lanes)
        self.blocks_in = up(spec.channels, lanes) // lanes
        self.blocks_out = up(spec.filters, lanes) // lanes

    def task(self, task: Expr) -> None:
        groups = self.blocks_out // self.vectors
        self.row, self.group = task // groups % self.spec.out_height, task % groups
        self.image = task // (groups * self.spec.out_height)
        if looped(self.spec):
            self._phases()
            return
        for run in phase_runs(self.spec, self.size):
            with T.serial(0, run.tiles) as tile:
                self._tile(run, tile * run.size)

    def _phases(self) -> None:
        """Every column, phases and tiles in loops; the last phases have one column less."""
        most, rest = divmod(self.spec.out_width, self.spec.strides[1])
        for first, last, columns in ((0, rest, most + 1), (rest, self.spec.strides[1], most)):
            cuts = (0, *inner_columns(self.spec, columns), columns)
            for start, tiles, size, whole in bordered_tiles(cuts, self.size) if first < last else ():
                with T.serial(first, last) as phase, T.serial(0, tiles) as tile:
                    self._tile(PhaseRun(phase, start, 1, size, (), whole), tile * size)

    def _tile(self, run: PhaseRun, offset: Expr) -> None:
        spec, lanes, vectors = self.spec, self.lanes, self.vectors
        acc = Registers(run.size * vectors, lanes)
        for at in range(run.size * vectors):
            acc[at] = self.finish.start((self.group * vectors + at % vectors) * lanes)
        with T.serial(0, spec.kernel[0]) as kh:
            reach = self.row + spec.pads[0] - kh * spec.dilations[0]
            in_row = reach // spec.strides[0]
            with T.If((reach >= 0) & (reach % spec.strides[0] == 0) & (in_row < spec.height)), T.Then():
                self._row(acc, run, kh, in_row, offset)
        for at in range(run.size * vectors):
            block = self.group * vectors + at % vectors
            column = run.phase + (run.start + offset + at // vectors) * spec.strides[1]
            line = ((self.image * self.blocks_out + block) * spec.out_height + self.row) * spec.out_width
            index = (line + column) * lanes
            store(self.output, index, self.finish.finish(acc[at], index, block * lanes), lanes)

    def _row(self, acc: Any, run: PhaseRun, kh: Expr, in_row: Expr, offset: Expr) -> None:
        spec, lanes = self.spec, self.lanes
        first = window_start(spec, self.group, self.vectors, lanes, lanes)
        unroll = min(lanes, 4)

        def block(cb: Expr) -> tuple[Expr, Expr]:
            line = ((self.image * self.blocks_in + first + cb) * spec.height + in_row) * spec.width
            return line, ((self.group * self.window + cb) * spec.kernel[0] + kh) * spec.kernel[1]

        def steps(outer: Expr, pixel: Expr, tap: Expr, pixels: range) -> None:
            for inner in range(unroll):
                lane = outer * unroll + inner
                weight = (tap * lanes + lane) * self.vectors * lanes
                self._step(acc, pixel * lanes + lane, weight, pixels)

        if looped(spec):
            with T.serial(0, self.window) as cb:
                line, taps = block(cb)

                def body(tap: Expr, column: Expr, pixels: range) -> None:
                    with T.serial(0, lanes // unroll) as outer:
                        steps(outer, line + column, taps + tap, pixels)

                self._reaching(run, offset, body)
            return
        with T.serial(0, self.window) as cb, T.serial(0, lanes // unroll) as outer:
            line, taps = block(cb)
            for kw, column, low, high in run.taps:
                steps(outer, line + column + offset, taps + kw, range(low, high))

    def _reaching(self, run: PhaseRun, offset: Expr, body: Callable[[Expr, Expr, range], None]) -> None:
        """`body(tap, input column, pixels)` in loops over the taps that reach a tile; see `reaching_taps`."""
        spec, (first, period) = self.spec, reaching_taps(self.spec, run.phase)
        back = period * spec.dilations[1] // spec.strides[1]
        column = (
            (run.phase + spec.pads[1] - first * spec.dilations[1]) // spec.strides[1] + run.start + offset
        )
        count = (spec.kernel[1] - first + (period - 1)) // period

        def of_tap(k: Expr, pixels: range) -> None:
            body(first + k * period, column - k * back, pixels)

        if run.whole:
            loop((0, count), of_tap, range(run.size))
            return
        bounds = []
        for r in range(run.size):
            low = T.max(0, (column + (r - spec.width + 1 + back - 1)) // back)
            bounds.append((low, T.min(count, (column + r) // back + 1)))
        each_tap(bounds, of_tap)

    def _step(self, acc: Any, start: Expr, weight: Expr, pixels: range) -> None:
        lanes, vectors = self.lanes, self.vectors
        for r in pixels:
            element = splat(self.data[start + r * lanes], lanes)
            for v in range(vectors):
                at = r * vectors + v
                acc[at] = T.fma(element, load(self.weights, weight + v * lanes, lanes), acc[at])


TRANSPOSED = Transposed()
