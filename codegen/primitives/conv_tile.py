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
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import epilogue
from ..targets import Target
from .arithmetic import Arithmetic, Float32
from .base import ConvSpec, Floats, layout_block, up
from .linear_finish import LinearFinish, LinearSpec, Taps, linear_pointers

Expr = Any
Buffer = Any

LINE = 16  # floats of a cache line
# Bytes per cycle at which a panel of weights arrives, by the share of the second-level cache that it takes.
_STREAM = ((1 / 6, 64.0), (1 / 2, 28.0), (float("inf"), 8.0))


@dataclass(frozen=True)
class Tiling:
    """Register tile: at most `pixels` by exactly `vectors`; `filters_outer` is the order of tasks.

    `ahead` asks for the next group's weights while this one's are used.
    """

    pixels: int
    vectors: int
    filters_outer: bool = False
    columns: int = 0  # output columns of one task; 0 for the whole row
    ahead: bool = False


@dataclass(frozen=True)
class Run:
    """`tiles` tiles of `size` columns from `start`; `taps` gives (kw, first, last + 1) of valid pixels."""

    start: int
    tiles: int
    size: int
    taps: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class KernelSpec:
    """What determines a kernel's code, besides the target's vector length."""

    primitive: str
    operator: Any
    parameters: Any
    lanes: int


def max_pixels(registers: int, vectors: int) -> int:
    """Pixels of the largest tile that leaves registers for weights and a broadcast."""
    return max(1, (registers - 1 - vectors) // vectors)


def even_split(total: int, most: int) -> list[int]:
    """The sizes of the fewest tiles of at most `most` that make up `total`; they differ by at most one."""
    count = -(-total // most)
    size, larger = divmod(total, count)
    return [size + 1] * larger + [size] * (count - larger)


def step_cycles(
    pixels: int, vectors: int, steps: int, target: Target, arithmetic: Arithmetic | None = None
) -> float:
    """Cycles to multiply the input of one step, for each of `pixels` pixels, with `vectors` weight vectors.

    The longest of multiplying, loading and waiting for a sum that is too soon
    needed again; and of streaming the panel of `steps` weight vectors, once per
    tile, from where it fits. What overlaps still costs a share.
    """
    arithmetic = arithmetic or Float32(target.lanes)
    sizes = even_split(pixels, arithmetic.tile_pixels(target.isa.vector_registers, vectors))
    operands = sum(r + vectors for r in sizes)
    operations = sum(sizes) * vectors * arithmetic.operations + operands * arithmetic.preparation
    multiply, load = operations / (arithmetic.rate or target.fma_per_cycle), operands / 2
    busy = max(multiply, load, arithmetic.latency * len(sizes)) + 0.3 * load
    panel = steps * vectors * target.isa.vector_bytes
    rate = next(rate for share, rate in _STREAM if panel <= target.l2_bytes * share)
    streamed = len(sizes) * vectors * target.isa.vector_bytes / rate
    return max(busy, streamed) + 0.2 * streamed


def choose_vectors(
    blocks: int, pixels: int, steps: int, target: Target, arithmetic: Arithmetic | None = None
) -> int:
    """Vectors of filters per tile: the divisor of `blocks` for which the product takes the least time."""
    fitting = [v for v in (1, 2, 3, 4) if blocks % v == 0]
    return min(fitting, key=lambda v: step_cycles(pixels, v, steps, target, arithmetic) / v)


def product_seconds(
    places: float,
    blocks: int,
    pixels: int,
    vectors: int,
    steps: int,
    target: Target,
    arithmetic: Arithmetic | None = None,
) -> float:
    """Time of `places` strips of `pixels` pixels, `blocks` filter vectors and `steps` steps each."""
    step = step_cycles(pixels, vectors, steps, target, arithmetic)
    ending = arithmetic.ending * pixels * vectors if arithmetic else 0.0
    cycles = places * (blocks / vectors) * (steps * step + 40 + ending)
    return 0.95 * cycles / (target.clock_ghz * 1e9)


def row_runs(spec: ConvSpec, first: int, last: int, most: int) -> list[Run]:
    """Columns [first, last) cut into tiles of at most `most`; equal neighbours joined."""
    runs: list[Run] = []
    start = first
    for count in even_split(last - first, most):
        taps = _valid_taps(spec, start, count)
        if runs and runs[-1].taps == taps and runs[-1].size == count:
            runs[-1] = Run(runs[-1].start, runs[-1].tiles + 1, count, taps)
        else:
            runs.append(Run(start, 1, count, taps))
        start += count
    return runs


def _valid_taps(spec: ConvSpec, start: int, count: int) -> tuple[tuple[int, int, int], ...]:
    taps = []
    for kw in range(spec.kernel[1]):
        columns = [
            (start + r) * spec.strides[1] - spec.pads[1] + kw * spec.dilations[1] for r in range(count)
        ]
        valid = [r for r, column in enumerate(columns) if 0 <= column < spec.width]
        if valid:
            taps.append((kw, valid[0], valid[-1] + 1))
    return tuple(taps)


def kernel_rows(T: Any, spec: ConvSpec, row: Expr) -> tuple[Expr, Expr]:
    """The range of kernel rows that fall inside the image at output row `row`."""
    top, step = row * spec.strides[0] - spec.pads[0], spec.dilations[0]
    low: Expr = 0
    high: Expr = spec.kernel[0]
    if spec.pads[0] > 0:
        low = T.max(0, (step - 1 - top) // step)
    if (spec.out_height - 1) * spec.strides[0] - spec.pads[0] + (spec.kernel[0] - 1) * step >= spec.height:
        high = T.min(spec.kernel[0], (spec.height - top + step - 1) // step)
    return low, high


@dataclass(frozen=True)
class Finish:
    """How a kernel ends: bias into the accumulators' start, extra operands and mask into the store."""

    spec: Any
    lanes: int
    extras: tuple[Buffer, ...]
    bias: Buffer | None

    def start(self, channel: Expr) -> Expr:
        """The initial value of an accumulator for channels `channel`..."""
        from ..tvm_adapter import load, splat

        return splat(0.0, self.lanes) if self.bias is None else load(self.bias, channel, self.lanes)

    def finish(self, value: Expr, index: Expr, channel: Expr) -> Expr:
        """The epilogue on one vector of channels at output element `index`."""
        from ..tvm_adapter import load, splat

        def operand(i: int) -> Expr:
            kind = self.spec.extras[i]
            if kind == "scalar":
                return splat(self.extras[i][0], self.lanes)
            return load(self.extras[i], index if kind == "full" else channel, self.lanes)

        return self._masked(epilogue.apply(self.spec.epilogue, value, operand, self.lanes), channel)

    def _masked(self, value: Expr, channel: Expr) -> Expr:
        """Zero in the lanes past the last filter, where the epilogue would not leave zero."""
        from ..tvm_adapter import T, splat

        exact = self.spec.filters % self.lanes == 0 or epilogue.keeps_zero(
            self.spec.epilogue, self.spec.extras
        )
        if exact or self.lanes == 1:
            return value
        lane = T.Ramp(channel, 1, self.lanes)
        return T.Select(lane < splat(self.spec.filters, self.lanes, "int32"), value, splat(0.0, self.lanes))


def split_buffers(
    spec: Any, buffers: tuple[Buffer, ...]
) -> tuple[Buffer, tuple[Buffer, ...], tuple[Buffer, ...]]:
    """(data, extras, constants) of a kernel's inputs."""
    count = len(spec.extras)
    return buffers[0], buffers[1 : 1 + count], buffers[1 + count :]


def pointers(spec: Any, constants: tuple[str, ...] = ("weights",)) -> list[str]:
    """Parameter names of a kernel before the workspace."""
    bias = ("bias",) if spec.bias else ()
    return ["data", *(f"extra{i}" for i in range(len(spec.extras))), *constants, *bias, "output"]


class FloatFinish:
    """How the nest below ends where it sums floats."""

    def __init__(self, spec: ConvSpec, lanes: int, buffers: tuple[Buffer, ...]) -> None:
        *inputs, self.output = buffers
        extras, rest = inputs[: len(spec.extras)], inputs[len(spec.extras) :]
        self.spec, self.lanes = spec, lanes
        self.finish = Finish(spec, lanes, tuple(extras), rest[0] if spec.bias else None)

    def start(self, channel: Expr, rows: tuple[Expr, Expr], taps: Taps) -> Expr:
        """The same for every pixel."""
        return self.finish.start(channel)

    def store(self, value: Expr, image: Expr, pixel: Expr, channel: Expr) -> None:
        """The epilogue on sums of channels `channel`... at output pixel `pixel`."""
        from ..tvm_adapter import store

        blocks = up(self.spec.filters, self.lanes) // self.lanes
        index = ((image * blocks + channel // self.lanes) * self.spec.pixels + pixel) * self.lanes
        store(self.output, index, self.finish.finish(value, index, channel), self.lanes)


def kernel_pointers(spec: ConvSpec) -> list[str | tuple[str, str]]:
    """A kernel's parameters before the workspace: data, extras, weights, other constants, output."""
    return linear_pointers(spec) if isinstance(spec, LinearSpec) else [*pointers(spec)]


def opened(spec: ConvSpec, lanes: int, buffers: tuple[Buffer, ...]) -> tuple[Buffer, Buffer, Any]:
    """(data, weights, ending) of the buffers that `kernel_pointers` names."""
    extras = spec.ending.residual if isinstance(spec, LinearSpec) else len(spec.extras)
    data, weights = buffers[0], buffers[1 + extras]
    rest = (*buffers[1 : 1 + extras], *buffers[2 + extras :])
    ending = LinearFinish if isinstance(spec, LinearSpec) else FloatFinish
    return data, weights, ending(spec, lanes, rest)  # type: ignore[arg-type]


def build(spec: ConvSpec, tiling: Tiling, arithmetic: Arithmetic) -> Any:
    """The PrimFunc of a blocked-output convolution."""
    from ..tvm_adapter import T, prim_func

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
        self.asking = False

    def task(self, task: Expr) -> None:
        strips = strip_count(self.spec, self.tiling)
        groups = self.spec.filter_vectors(self.lanes) // self.tiling.vectors
        places = self.spec.out_height * strips
        if self.tiling.filters_outer:
            image, group, place = task // (groups * places), task // places % groups, task % places
        else:
            image, place, group = task // (groups * places), task // groups % places, task % groups
        self.image, self.group, self.row = image, group, place // strips
        if strips == 1:
            self._columns(row_runs(self.spec, 0, self.spec.out_width, self.tiling.pixels), 0)
        else:
            self._strip(place % strips, strips)

    def _strip(self, strip: Expr, strips: int) -> None:
        """Strips are alike but for the last, which may be short; kernels with column padding have none."""
        from ..tvm_adapter import T

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
        from ..tvm_adapter import T

        rarest = min(runs, key=lambda run: run.tiles)
        for run in runs:
            self.asking = self.tiling.ahead and run is rarest
            with T.serial(0, run.tiles) as tile:
                self._tile(run, offset + run.start + tile * run.size)

    def _tile(self, run: Run, column: Expr) -> None:
        from ..tvm_adapter import T

        vectors = self.tiling.vectors
        acc = self.arithmetic.registers(run.size * vectors)
        low, high = kernel_rows(T, self.spec, self.row)
        for v in range(vectors):
            for r in range(run.size):
                taps = tuple(kw for kw, first, last in run.taps if first <= r < last)
                acc[r * vectors + v] = self.finish.start(self._channel(v), (low, high), taps)
        self._sum(acc, run, column, (low, high))
        for r in range(run.size):
            for v in range(vectors):
                pixel = self.row * self.spec.out_width + column + r
                self.finish.store(acc[r * vectors + v], self.image, pixel, self._channel(v))

    def _sum(self, acc: Any, run: Run, column: Expr, rows: tuple[Expr, Expr]) -> None:
        """Every input block and tap of a tile."""
        from ..tvm_adapter import T

        for loops in self._passes(run):
            with T.serial(0, self.window) as cb, T.serial(*rows) as kh:
                for taps, pixels in loops:
                    with T.serial(taps.start, taps.stop) if len(taps) > 1 else nullcontext(taps.start) as kw:
                        self._tap(acc, cb, kh, kw, column, pixels)

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

    def _channel(self, vector: int) -> Expr:
        """The first filter of a vector."""
        return (self.group * self.tiling.vectors + vector) * self.lanes

    def _tap(self, acc: Any, cb: Expr, kh: Expr, kw: Expr, column: Expr, pixels: range) -> None:
        """Adds one tap of one input block; the steps of the block in a loop unrolled by 4."""
        from ..tvm_adapter import T

        spec, block, step = self.spec, self.block, self.arithmetic.step
        width = self.tiling.vectors * self.lanes
        in_row = self.row * spec.strides[0] - spec.pads[0] + kh * spec.dilations[0]
        in_column = column * spec.strides[1] - spec.pads[1] + kw * spec.dilations[1]
        first = window_start(T, spec, self.group, self.tiling.vectors, self.lanes, self.block)
        line = ((self.image * self.blocks_in + first + cb) * spec.height + in_row) * spec.width
        start = (line + in_column) * block
        taps = (self.group * self.window + cb) * spec.kernel[0] * spec.kernel[1]
        weight = (taps + kh * spec.kernel[1] + kw) * block * width
        unroll = min(block // step, 4)
        if block == step:
            self._step(acc, start, weight, pixels)
            return
        with T.serial(0, block // step // unroll) as outer:
            for inner in range(unroll):
                lane = (outer * unroll + inner) * step
                self._step(acc, start + lane, weight + lane * width, pixels)

    def _step(self, acc: Any, start: Expr, weight: Expr, pixels: range) -> None:
        """acc[r][v] += data[start + r] * weights[weight + v]."""
        from ..tvm_adapter import prefetch

        arithmetic, vectors = self.arithmetic, self.tiling.vectors
        if self.asking:
            panel = (
                self.window * self.spec.kernel[0] * self.spec.kernel[1] * self.block * vectors * self.lanes
            )
            for at in range(0, vectors * arithmetic.width, arithmetic.line):
                prefetch(self.weights, weight + panel + at, 2)
        weights = [arithmetic.weights(self.weights, weight + v * arithmetic.width) for v in range(vectors)]
        for r in pixels:
            element = arithmetic.element(self.data, start + r * self.spec.strides[1] * self.block)
            for v in range(vectors):
                arithmetic.accumulate(acc, r * vectors + v, element, weights[v])


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


def window_start(T: Any, spec: Any, group: Expr, vectors: int, lanes: int, block: int) -> Expr:
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


def strip_count(spec: ConvSpec, tiling: Tiling) -> int:
    return -(-spec.out_width // tiling.columns) if tiling.columns else 1


def task_count(spec: ConvSpec, tiling: Tiling, lanes: int) -> int:
    groups = spec.filter_vectors(lanes) // tiling.vectors
    return spec.batch * groups * spec.out_height * strip_count(spec, tiling)


def pack_weights(weights: Floats, vectors: int, lanes: int, block: int) -> Floats:
    """OIHW to [filter group][input block][kh][kw][input lane][vector and lane of filters], zero-padded."""
    return Float32(lanes).pack(weights, vectors, block, up(len(weights), vectors * lanes))


def pack_bias(bias: Floats | None, filters: int, lanes: int) -> tuple[Floats, ...]:
    """The bias padded with zeros to whole blocks, or nothing."""
    if bias is None:
        return ()
    padded = np.zeros(up(filters, lanes), np.float32)
    padded[:filters] = bias
    return (padded,)


@dataclass(frozen=True)
class Order:
    """The order of tasks that reads less from beyond the second-level cache, and what it reads, in bytes."""

    filters_outer: bool
    traffic: float
    ahead: bool


def choose_order(spec: ConvSpec, target: Target, places: int, groups: int) -> Order:
    """Whether to keep weights and go through the image for each, or the reverse."""
    taps, size = spec.kernel[0] * spec.kernel[1], spec.element_bytes
    weights = size * spec.filters * spec.channels * taps // spec.groups
    skipped = spec.strides[0] * spec.strides[1] if spec.kernel == (1, 1) else 1
    image = size * spec.channels * spec.height * spec.width // skipped
    half = target.l2_bytes // 2
    keeping_weights = weights + image * (groups if image > half else 1)
    keeping_image = image + weights * (places if weights > half else 1)
    outer = keeping_weights < keeping_image
    # Asked for more often, lines are mostly there already; bytes come quickly enough unasked.
    ahead = size == 4 and outer and weights > half and places <= 2
    return Order(outer, min(keeping_weights, keeping_image), ahead)


def traffic_seconds(spec: ConvSpec, order: Order, target: Target) -> float:
    """What streaming adds to the time of the products, which hides a part of it."""
    written = spec.result_bytes * spec.filters * spec.pixels
    beyond = max(0.0, order.traffic + written - target.l2_bytes)
    return 0.6 * spec.batch * beyond / (target.dram_gbps * 1e9)
