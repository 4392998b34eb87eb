"""The register-tiled convolution loop nest that several primitives share.

One tile is R output pixels of a row by V vectors of filters, held in registers
while every input channel and tap is summed. Each step broadcasts one input
element for each pixel and multiplies it with V weight vectors. Taps that fall
outside the image are left out instead of padding the input: along a row
statically, by cutting the row into runs of tiles with equal sets of valid
taps; between rows by the bounds of the loop over kernel rows.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

from ...rounding import up
from ...tir import T, fence, opaque, prefetch, prim_func
from ...vector.streams import Stream
from ..specs import ConvSpec, Floats, layout_block
from .arithmetic import Arithmetic, Float32
from .ending import kernel_pointers, opened
from .plan import Run, Tiling, row_runs, strip_count
from .rows_by_element import Operands, RowsByElement
from .rows_of_bytes import RowsOfBytes, WeightsOfBytes
from .wide import inside, row_taps

Expr = Any
Buffer = Any

LINE = 16  # floats of a cache line


def kernel_rows(spec: ConvSpec, row: Expr) -> tuple[Expr, Expr]:
    """The range of kernel rows that fall inside the image at output row `row`."""
    top, step = row * spec.strides[0] - spec.pads[0], spec.dilations[0]
    low: Expr = 0
    high: Expr = spec.kernel[0]
    if spec.pads[0] > 0:
        low = T.max(0, (step - 1 - top) // step)
    if (spec.out_height - 1) * spec.strides[0] - spec.pads[0] + (spec.kernel[0] - 1) * step >= spec.height:
        high = T.min(spec.kernel[0], (spec.height - top + step - 1) // step)
    return low, high


def build(spec: ConvSpec, tiling: Tiling, arithmetic: Arithmetic) -> Any:
    """The PrimFunc of a blocked-output convolution."""

    def body(*args: Any) -> None:
        *buffers, _, begin, end = args
        nest = _Nest(spec, tiling, arithmetic, tuple(buffers))
        with T.serial(begin, end) as task:
            nest.task(task)

    return prim_func(kernel_pointers(spec), body)


class _Nest:
    """Emits one task: one strip of an output row for one group of `vectors` filter vectors."""

    def __init__(
        self, spec: ConvSpec, tiling: Tiling, arithmetic: Arithmetic, buffers: tuple[Buffer, ...]
    ) -> None:
        self.spec, self.tiling, self.arithmetic, self.lanes = spec, tiling, arithmetic, arithmetic.lanes
        self.data, self.weights, self.finish = opened(spec, self.lanes, buffers)
        self.block = layout_block(spec.in_layout)
        self.window = window(spec, tiling.vectors, self.lanes, self.block)
        self.blocks_in = up(spec.channels, self.block) // self.block
        taps = spec.kernel[0] * spec.kernel[1]
        self.panel = self.window * taps * self.block * tiling.vectors * self.lanes
        self.together = arithmetic.blocks if isinstance(arithmetic, RowsOfBytes) else 1
        self.asking = False
        self.visit: tuple[Expr, int] | None = None

    def task(self, task: Expr) -> None:
        strips = strip_count(self.spec, self.tiling)
        groups = self.spec.filter_groups(self.lanes, self.tiling.vectors)
        places = self.spec.out_height * strips
        if self.tiling.filters_outer:
            image, group, place = task // (groups * places), task // places % groups, task % places
        else:
            image, place, group = task // (groups * places), task // groups % places, task % groups
        self.image, self.group, self.row = image, group, place // strips
        self.place, self.places = place, places
        self.channels = self._channels()
        if strips == 1:
            self._columns(row_runs(self.spec, 0, self.spec.out_width, self.tiling.pixels), 0)
        else:
            self._strip(place % strips, strips)

    def _strip(self, strip: Expr, strips: int) -> None:
        """Strips are alike but for the last, which may be short; kernels with column padding have none."""
        width, spec = self.tiling.columns, self.spec
        rest = spec.out_width - (strips - 1) * width
        if rest == width:
            self._columns(row_runs(spec, 0, width, self.tiling.pixels), strip * width)
            return
        with T.If(strip < strips - 1):
            with T.Then():
                self._columns(row_runs(spec, 0, width, self.tiling.pixels), strip * width)
            with T.Else():
                self._columns(row_runs(spec, 0, rest, self.tiling.pixels), strip * width)

    def _columns(self, runs: list[Run], offset: Expr) -> None:
        rarest, longest = (choose(runs, key=lambda run: run.tiles) for choose in (min, max))
        for run in runs:
            ahead = self.tiling.ahead and not self.spec.wide  # those of a wide kernel come in one long stream
            self.asking = ahead and self.arithmetic.step == 1 and run is rarest
            share = ahead and self.arithmetic.step > 1 and run is longest
            self._go_on(run)
            with T.serial(0, run.tiles) as tile:
                self.visit = (self.place * run.tiles + tile, self.places * run.tiles) if share else None
                self._tile(run, offset + run.start + tile * run.size)

    def _tile(self, run: Run, column: Expr) -> None:
        vectors = self.tiling.vectors
        acc = self.arithmetic.registers(run.size * vectors)
        low, high = kernel_rows(self.spec, self.row)
        if isinstance(self.arithmetic, RowsByElement) and self.spec.bias and vectors > 1:
            bias = Stream(self.finish.bias, self._channel(0), self.lanes, self.spec.dtype)
            for r in range(run.size):
                for v, value in enumerate(bias.anew(vectors)):
                    acc[r * vectors + v] = value
        else:
            for v, r in np.ndindex(vectors, run.size):
                taps = inside(self.spec, run, column, r)
                acc[r * vectors + v] = self.finish.start(self._channel(v), (low, high), taps)
        sums = self.arithmetic.opened(acc, vectors)
        self._sum(sums, run, column, (low, high))
        acc = self.arithmetic.closed(sums, vectors)
        pixel = self.row * self.spec.out_width + column
        if isinstance(self.arithmetic, RowsByElement):
            for v, r in np.ndindex(vectors, run.size):  # neighbours side by side, so that two are one store
                self.finish.store(acc[r * vectors + v], self.image, pixel + r, self._channel(v))
            return
        for r in range(run.size):
            totals = [acc[r * vectors + v] for v in range(vectors)]
            self.finish.store_all(totals, self.image, pixel + r, self._channel(0))

    def _sum(self, acc: Any, run: Run, column: Expr, rows: tuple[Expr, Expr]) -> None:
        """Every input block and tap of a tile."""
        if isinstance(self.arithmetic, RowsByElement):
            self._stream(self.arithmetic, acc, run, column, rows)
            return
        if isinstance(self.arithmetic, RowsOfBytes):
            self._stream_weights(self.arithmetic, acc, run, column, rows)
            return
        if self.spec.wide:
            with T.serial(0, self.window) as cb, T.serial(*rows) as kh:
                origin = self._origin(cb, kh, column)
                row_taps(
                    self.spec, run, column, lambda kw, pixels: self._tap(acc, cb, kh, origin, kw, pixels)
                )
            return
        together = self._together()
        for number, loops in enumerate(self._passes(run)):
            with T.serial(0, self.window // together) as outer:
                for cb in (outer * together + inner for inner in range(together)):
                    if number == 0:
                        self._ask(cb)
                    with T.serial(*rows) as kh:
                        origin = self._origin(cb, kh, column)
                        if self._joins(run):
                            self._row_of_taps(acc, (cb, kh), origin, run)
                            continue
                        for taps, pixels in loops:
                            with _loop(taps) as kw:
                                self._tap(acc, cb, kh, origin, kw, pixels)

    def _stream(
        self, arithmetic: RowsByElement, acc: Any, run: Run, column: Expr, rows: tuple[Expr, Expr]
    ) -> None:
        """The same of streams: along the blocks of a 1x1 kernel, or the kernel rows of a block."""
        spec, columns = self.spec, columns_of(self.spec, run)
        if not run.taps:
            return
        taps = [(range(a, b), self._read(columns, kw, range(a, b))) for kw, a, b in run.taps]
        skipped, ask = spec.kernel[1] - len(taps), (self.panel * arithmetic.size, 2) if self.asking else None
        if spec.kernel == (1, 1) and not any(spec.pads):
            operands = self._operands(arithmetic, 0, 0, column, run)
            together = arithmetic.together(self.window)
            with T.serial(0, self.window // together):
                for _ in range(together):
                    operands.row(acc, self.on, taps, ask=ask)
            return
        operands, high = self._operands(arithmetic, 0, rows[0], column, run), spec.kernel[0]
        read = T.max(0, rows[1] - rows[0]) if any(spec.pads) else high
        line, taps_of_line = spec.width * spec.dilations[0], spec.kernel[1] * self.tiling.vectors * self.lanes
        plane = spec.height * spec.width
        with T.serial(0, self.window):
            with T.serial(*rows):
                operands.row(acc, self.on, taps, skipped, ask)
            operands.skip((plane - read * line) * self.block, (high - read) * taps_of_line * self.block)

    def _go_on(self, run: Run) -> None:
        """From where the last load of a row of taps begins to the next row, for all tiles of a run."""
        spec, one = self.spec, self.spec.kernel == (1, 1) and not any(self.spec.pads)
        if isinstance(self.arithmetic, RowsByElement) and run.taps:
            apart = spec.width * (spec.height if one else spec.dilations[0]) * self.block
            self.on = self.arithmetic.onward(len(columns_of(spec, run)), apart)

    def _stream_weights(
        self, arithmetic: RowsOfBytes, acc: Any, run: Run, column: Expr, rows: tuple[Expr, Expr]
    ) -> None:
        """The same of bytes: pixels are loaded tap by tap, weights are a stream."""
        one = self.spec.kernel == (1, 1) and not any(self.spec.pads)
        if not run.taps:
            return

        def from_block(cb: Expr) -> WeightsOfBytes:
            first = self._weight(cb, rows[0], run.taps[0][0])
            return arithmetic.weights_of((self.weights, first), self.tiling.vectors)

        weights, blocks = from_block(0) if one else None, arithmetic.blocks

        def add(cb: Expr) -> None:
            self._ask(cb, blocks)
            of_block = weights or from_block(cb)
            with T.serial(*rows) as kh:
                self._row_of_weights(of_block, acc, self._origin(cb, kh, column), run)

        first = int(one and arithmetic.begins_anew)
        for step in range(first):
            add(step)
        with T.serial(first, self.window // blocks) as step:
            add(step * blocks)

    def _row_of_weights(self, weights: WeightsOfBytes, acc: Any, origin: Expr, run: Run) -> None:
        spec, apart = self.spec, self.spec.height * self.spec.width * self.block
        for kw, first, last in run.taps:
            start = origin + kw * (spec.dilations[1] * self.block)
            places = {r: start + r * spec.strides[1] * self.block for r in range(first, last)}
            pixels = {r: weights.arithmetic.pixel(self.data, at, apart) for r, at in places.items()}
            skipped = spec.kernel[1] - len(run.taps) if kw == run.taps[-1][0] else 0
            weights.tap(acc, pixels, skipped)
            fence(self.data, self.weights, always=True)

    def _operands(self, arithmetic: RowsByElement, cb: Expr, kh: Expr, column: Expr, run: Run) -> Operands:
        """From the first column that a tile reads and the first tap that it sees."""
        data = self._origin(cb, kh, column) + columns_of(self.spec, run).start * self.block
        weights = self._weight(cb, kh, run.taps[0][0])
        return Operands(arithmetic, (self.data, data), (self.weights, weights), self.tiling.vectors)

    def _read(self, columns: range, kw: int, pixels: range) -> range:
        """The columns that these pixels read by a tap, counted from the first that the tile reads."""
        step = self.spec.strides[1]
        first = pixels.start * step + kw * self.spec.dilations[1] - columns.start
        return range(first, first + len(pixels) * step, step)

    def _together(self) -> int:
        """Input blocks of one pass through the innermost loop, which is short where a block is one load."""
        short = self.spec.kernel == (1, 1) and self.block == self.arithmetic.at_once > 1
        return 2 if short and self.window % 2 == 0 else 1

    def _ask(self, cb: Expr, blocks: int = 1) -> None:
        """Prefetches this visit's share of the next group's weights, which all visits of a group read."""
        if self.visit is None:
            return
        number, visits = self.visit
        step = self.arithmetic.line
        lines = -(-self.panel // (visits * self.window * step))
        first = (self.group + 1) * self.panel + (number * self.window + cb) * (lines * step)
        for line in range(lines * blocks):
            prefetch(self.weights, first + line * step, 2)

    def _passes(self, run: Run) -> list[list[tuple[range, range]]]:
        """(kernel columns, pixels) of each loop over taps; the taps of a pass are summed side by side.

        Where a tap fills the registers, two are never in one block of code: the
        compiler would load the second's operands so early that sums are spilled.
        """
        if not 1 < self.arithmetic.step < self.block:
            return [[(range(kw, kw + 1), range(first, last)) for kw, first, last in run.taps]]
        passes: list[list[tuple[range, range]]] = []
        for taps, pixels in _alike(run):
            if passes and len(taps) + len(passes[-1][-1][0]) > 2:
                passes[-1].append((taps, pixels))
            else:
                passes.append([(taps, pixels)])
        return passes

    def _channels(self) -> list[Expr]:
        """The first filter of each vector.

        Of streams LLVM knows no distance between them: what a vector's pixels are stored at is near.
        """
        first = [(self.group * self.tiling.vectors + v) * self.lanes for v in range(self.tiling.vectors)]
        return [*map(opaque, first)] if isinstance(self.arithmetic, RowsByElement) else first

    def _channel(self, vector: int) -> Expr:
        """The first filter of a vector."""
        return self.channels[vector]

    def _origin(self, cb: Expr, kh: Expr, column: Expr) -> Expr:
        """Where an input block of the first tap of a kernel row lies, for the first pixel of a tile."""
        spec = self.spec
        in_row = self.row * spec.strides[0] - spec.pads[0] + kh * spec.dilations[0]
        in_column = column * spec.strides[1] - spec.pads[1]
        first = window_start(spec, self.group, self.tiling.vectors, self.lanes, self.block)
        line = ((self.image * self.blocks_in + first + cb) * spec.height + in_row) * spec.width
        start = (line + in_column) * self.block
        return opaque(start) if spec.kernel[1] > 1 else start  # of one column, the loop over blocks moves on

    def _weight(self, cb: Expr, kh: Expr, kw: Expr) -> Expr:
        """Where the weights of a tap of one input block lie."""
        spec = self.spec
        taps = (self.group * self.window + cb) * spec.kernel[0] * spec.kernel[1]
        taps += (kh * spec.kernel[1] + kw) * self.together
        return taps * self.block * (self.tiling.vectors * self.lanes)

    def _tap(self, acc: Any, cb: Expr, kh: Expr, origin: Expr, kw: Expr, pixels: range) -> None:
        """Adds one tap of one input block; the steps of the block in an unrolled loop."""
        block, step, width = self.block, self.arithmetic.step, self.tiling.vectors * self.lanes
        start, weight = origin + kw * (self.spec.dilations[1] * block), self._weight(cb, kh, kw)
        if block == step:
            self._step(acc, start, weight, pixels)
            return

        def steps_of(count: int) -> None:
            unroll = min(count, self.arithmetic.unroll)
            steps = min(self.arithmetic.at_once, unroll)
            with T.serial(0, count // unroll) as outer:
                for inner in range(0, unroll, steps):
                    lane = (outer * unroll + inner) * step
                    self._step(acc, start + lane, weight + lane * width, pixels, steps)

        count, last = block_steps(self.spec, self.arithmetic)
        if count == last or self.blocks_in == 1:
            steps_of(last)
            return
        with T.If(cb < self.blocks_in - 1):
            with T.Then():
                steps_of(count)
            with T.Else():
                steps_of(last)

    def _joins(self, run: Run) -> bool:
        """Whether a kernel row's pixels, each the element of one step, are loaded together."""
        columns = columns_of(self.spec, run)
        return self.block == self.arithmetic.step and 1 < self.arithmetic.at_once <= len(columns)

    def _row_of_taps(self, acc: Any, place: tuple[Expr, Expr], origin: Expr, run: Run) -> None:
        """Adds the taps of a kernel row: what several taps and pixels of the tile read is loaded once."""
        spec, arithmetic, step = self.spec, self.arithmetic, self.arithmetic.at_once
        columns, weight = columns_of(spec, run), self._weight(*place, 0)
        elements: dict[int, Any] = {}
        for first in [*range(columns.start, columns.stop - step, step), columns.stop - step]:
            loaded = arithmetic.elements(self.data, origin + first * self.block, step)
            elements |= {first + k: element for k, element in enumerate(loaded)}
        width = self.block * self.tiling.vectors * self.lanes
        for kw, first, last in run.taps:
            of_tap = {r: elements[r * spec.strides[1] + kw * spec.dilations[1]] for r in range(first, last)}
            arithmetic.multiply_prepared(
                acc, of_tap, (self.weights, weight + kw * width), self.tiling.vectors
            )
            fence(self.weights, self.weights)

    def _step(self, acc: Any, start: Expr, weight: Expr, pixels: range, steps: int = 1) -> None:
        """acc[r][v] += data[start + r] * weights[weight + v]; so many steps of a pixel, one after another."""
        arithmetic, vectors = self.arithmetic, self.tiling.vectors
        if self.asking:
            panel = (
                self.window * self.spec.kernel[0] * self.spec.kernel[1] * self.block * vectors * self.lanes
            )
            for at in range(0, vectors * arithmetic.width, arithmetic.line):
                prefetch(self.weights, weight + panel + at, 2)
        elements = {r: start + r * self.spec.strides[1] * self.block for r in pixels}
        arithmetic.multiply(acc, (self.data, elements), (self.weights, weight), vectors, steps)
        fence(self.data, self.weights, always=arithmetic.data == "uint8")


def block_steps(spec: ConvSpec, arithmetic: Arithmetic) -> tuple[int, int]:
    """Steps of an input block, and of the last: of bytes, without those of lanes that hold zeros."""
    block, step = layout_block(spec.in_layout), arithmetic.step
    every = max(1, block // step)
    if arithmetic.data != "uint8" or spec.groups > 1:
        return every, every
    last = -(-((spec.channels - 1) % block + 1) // step)
    if spec.channels > block or arithmetic.at_once > 1:  # a branch, or a load, is worth half of the steps
        last = next((n for n in (every // 4, every // 2) if n >= last), every)
    return every, last


def channel_steps(spec: ConvSpec, arithmetic: Arithmetic) -> int:
    """Steps of all input blocks."""
    block = layout_block(spec.in_layout)
    if isinstance(arithmetic, RowsOfBytes):
        return up(spec.channels, block) // arithmetic.step
    every, last = block_steps(spec, arithmetic)
    return (up(spec.channels, block) // block - 1) * every + last


def _loop(taps: range) -> Any:
    """A loop over kernel columns, or the only one."""
    return T.serial(taps.start, taps.stop) if len(taps) > 1 else nullcontext(taps.start)


def columns_of(spec: ConvSpec, run: Run) -> range:
    """The image's columns that a tile reads, from the first pixel's first tap on; none without taps."""
    ends = [
        r * spec.strides[1] + kw * spec.dilations[1]
        for kw, first, last in run.taps
        for r in (first, last - 1)
    ]
    return range(min(ends), max(ends) + 1) if ends else range(0)


def _alike(run: Run) -> list[tuple[range, range]]:
    """(kernel columns, pixels) of neighbouring taps that are valid for the same pixels."""
    found: list[tuple[range, range]] = []
    for kw, first, last in run.taps:
        if found and found[-1][1] == range(first, last) and found[-1][0].stop == kw:
            found[-1] = (range(found[-1][0].start, kw + 1), range(first, last))
        else:
            found.append((range(kw, kw + 1), range(first, last)))
    return found


def window(spec: Any, vectors: int, lanes: int, block: int) -> int:
    """Input blocks that one group of `vectors` filter blocks reads at most; grouped filters need not all."""
    if spec.groups == 1:
        return up(spec.channels, block) // block
    return max(last - first for first, last in _windows(spec, vectors * lanes, block))


def _windows(spec: Any, width: int, block: int) -> list[tuple[int, int]]:
    """First and last + 1 input block of each `width` filters."""
    reads, writes = spec.channels // spec.groups, spec.filters // spec.groups
    found = []
    for first in range(0, spec.filters, width):
        last = min(first + width, spec.filters) - 1
        found.append((first // writes * reads // block, -(-(last // writes + 1) * reads // block)))
    return found


def window_start(spec: Any, group: Expr, vectors: int, lanes: int, block: int) -> Expr:
    """The first input block of a group of filter blocks; moved back where the window would pass the end."""
    if spec.groups == 1:
        return 0
    reads, writes = spec.channels // spec.groups, spec.filters // spec.groups
    blocks = up(spec.channels, block) // block
    return T.min(
        group * (vectors * lanes) // writes * reads // block, blocks - window(spec, vectors, lanes, block)
    )


def spread_groups(spec: Any, weights: Floats, vectors: int, lanes: int, block: int) -> Floats:
    """Grouped OIHW weights as (filters, window channels, kh, kw), zero outside a filter's group."""
    reads, writes = spec.channels // spec.groups, spec.filters // spec.groups
    width, count = vectors * lanes, window(spec, vectors, lanes, block)
    spread = np.zeros((spec.filters, count * block, *weights.shape[2:]), weights.dtype)
    limit = up(spec.channels, block) // block - count
    for filter_ in range(spec.filters):
        start = min(filter_ // width * width // writes * reads // block, limit) * block
        at = filter_ // writes * reads - start
        spread[filter_, at : at + reads] = weights[filter_]
    return spread


def pack_weights(weights: Floats, vectors: int, lanes: int, block: int) -> Floats:
    """OIHW to [filter group][input block][kh][kw][input lane][vector and lane of filters], zero-padded."""
    return Float32(lanes).pack(weights, vectors, block, up(len(weights), vectors * lanes))


def pack_bias(bias: Floats | None, filters: int, lanes: int) -> tuple[Floats, ...]:
    """The bias padded with zeros to whole blocks, or nothing."""
    if bias is None:
        return ()
    padded = np.zeros(up(filters, lanes), bias.dtype)
    padded[:filters] = bias
    return (padded,)
