"""Convolution as a matrix product over a strip of pixels whose taps are first copied side by side.

The strip (taps x pixels) is written to the workspace once and used for every
filter, so borders cost nothing in the product and pixels of several rows share
a register tile: the choice for small images with many channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, fence, load, prefetch, prim_func, splat, store
from ..operator import Cost
from ..specs import ConvSpec, Floats, block_name, layout_block, seconds, up
from .ending import Finish, pointers, split_buffers
from .plan import KernelSpec, max_pixels
from .planned import Planned
from .tile import LINE, pack_bias, pack_weights

Expr = Any
Buffer = Any

_PIXELS = 196  # of a strip: enough that streaming weights costs little beside the products
_RATE = 0.5  # vectors a cycle from the second-level cache: weights of each strip, sums between chunks
_PARTS = (2, 4, 8, _PIXELS)  # of it, down to one register tile, where memory is dear


@dataclass(frozen=True)
class Strip:
    """Pixels of a task (a multiple of `rows`), register tile, input blocks a sum, parts of the filters."""

    pixels: int
    rows: int
    vectors: int
    blocks: int
    splits: int
    ahead: bool


@dataclass(frozen=True)
class Im2row(Planned[ConvSpec, Strip]):
    """Any kernel, stride, dilation and padding; one group."""

    name: str = "im2row"

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((block_name(target), block_name(target)), ("NCHW", block_name(target)))

    def plans(self, spec: ConvSpec, target: Target) -> dict[Strip, Cost]:
        return _costs(spec, target)

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        packed = pack_weights(
            weights, self.plan(spec, target).vectors, target.lanes, layout_block(spec.in_layout)
        )
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        strip, lanes = self.plan(spec, target), target.lanes
        tasks = spec.batch * -(-spec.pixels // strip.pixels) * strip.splits
        key = KernelSpec(self.name, spec, strip, lanes)
        return Kernel(
            self.name, key, partial(_build, spec, strip, lanes), tasks, self.workspace(spec, target)
        )


def _costs(spec: ConvSpec, target: Target) -> dict[Strip, Cost]:
    """Of strips from the whole image down to one register tile."""
    return _costs_of(replace(spec, workspace_limit=None), target)


@lru_cache(maxsize=512)
def _costs_of(spec: ConvSpec, target: Target) -> dict[Strip, Cost]:
    strips = [_strip(spec, target, most) for most in (_PIXELS, spec.pixels, *(_PIXELS // n for n in _PARTS))]
    return {strip: Cost(_seconds(spec, strip, target), _workspace(spec, strip, target)) for strip in strips}


def _strip(spec: ConvSpec, target: Target, most: int) -> Strip:
    """About `most` pixels, and as many taps at a time as the caches hold."""
    blocks = up(spec.filters, target.lanes) // target.lanes
    vectors = 2 if blocks % 2 == 0 else 1
    widest = max_pixels(target.isa.vector_registers, vectors)
    rows = min(range(max(1, widest // 2), widest + 1), key=lambda r: up(spec.pixels, r) * (1 + 0.25 / r))
    pixels = rows * min(-(-spec.pixels // rows), -(-most // rows))
    ahead = 4 * spec.channels * spec.filters * spec.kernel[0] * spec.kernel[1] > target.l2_bytes // 2
    few = spec.batch * -(-spec.pixels // pixels) < 4
    splits = max(
        s for s in (1, 2, 4) if blocks // vectors % s == 0 and (s == 1 or (few and spec.filters >= 256))
    )
    return Strip(pixels, rows, vectors, _chunk(spec, target, pixels, vectors), splits, ahead)


def _workspace(spec: ConvSpec, strip: Strip, target: Target) -> int:
    """Bytes: the copied taps, and the sums between chunks of input blocks."""
    block = layout_block(spec.in_layout)
    taps = strip.blocks * block * spec.kernel[0] * spec.kernel[1]
    between = up(spec.filters, target.lanes) // strip.splits if strip.blocks * block < spec.channels else 0
    return 4 * strip.pixels * (taps + between)


def _efficiency(rows: int, vectors: int) -> float:
    """Of a register tile, as a share of the multiply-adds that the target can do."""
    return 0.8 / max(1.0, 0.45 + 1 / rows + 1 / vectors)


def step_cycles(rows: int, vectors: int, target: Target) -> float:
    """Cycles to multiply one tap's channel of `rows` pixels with `vectors` filter vectors."""
    return rows * vectors / (target.fma_per_cycle * _efficiency(rows, vectors))


def _seconds(spec: ConvSpec, strip: Strip, target: Target) -> float:
    lanes, block = target.lanes, layout_block(spec.in_layout)
    taps = up(spec.channels, block) * spec.kernel[0] * spec.kernel[1]
    pixels = spec.batch * up(spec.pixels, strip.rows)
    macs = pixels * taps * up(spec.filters, lanes)
    efficiency = _efficiency(strip.rows, strip.vectors)
    copied = strip.splits * pixels * taps / block * lanes * 6.0
    chunks = up(spec.channels, block) // block // strip.blocks
    summed = (chunks - 1) * pixels * up(spec.filters, lanes) / _RATE * target.fma_per_cycle
    strips = spec.batch * -(-spec.pixels // strip.pixels)
    near = 0.5 * strips * taps * up(spec.filters, lanes) / _RATE * target.fma_per_cycle
    streamed = 4.0 * taps * up(spec.filters, lanes) * strips
    streamed += 8.0 * pixels * taps if 4 * strip.pixels * taps / chunks > target.l2_bytes else 0.0
    streamed += 4.0 * spec.batch * spec.pixels * (spec.filters + spec.channels)
    beyond = max(0.0, streamed - target.l2_bytes) / (target.far_gbps(streamed) * 1e9)
    return seconds(target, macs / efficiency + copied + summed + near, 1.0, 0) + 0.6 * beyond + 2e-6


def _chunk(spec: ConvSpec, target: Target, pixels: int, vectors: int) -> int:
    """Input blocks whose copied taps fill half of the second-level cache and whose weights a quarter."""
    block = layout_block(spec.in_layout)
    total = up(spec.channels, block) // block
    taps = block * spec.kernel[0] * spec.kernel[1] * 4
    fitting = min(
        target.l2_bytes // 2 // (taps * pixels), target.l2_bytes // 4 // (taps * vectors * target.lanes)
    )
    return max(b for b in range(1, total + 1) if total % b == 0 and (b == 1 or b <= fitting))


def _build(spec: ConvSpec, strip: Strip, lanes: int) -> Any:
    def body(*args: Any) -> None:
        *inputs, output, workspace, begin, end = args
        data, extras, constants = split_buffers(spec, tuple(inputs))
        finish = Finish(spec, lanes, extras, constants[1] if spec.bias else None)
        nest = _Nest(spec, strip, lanes, data, constants[0], output, workspace, finish)
        with T.serial(begin, end) as task:
            nest.task(task)

    return prim_func(pointers(spec), body)


class _Nest:
    """Emits one task. The copied taps lie as [input block][kh][kw][pixel][input lane]."""

    def __init__(
        self,
        spec: ConvSpec,
        strip: Strip,
        lanes: int,
        data: Buffer,
        weights: Buffer,
        output: Buffer,
        workspace: Buffer,
        finish: Finish,
    ) -> None:
        self.spec, self.strip, self.lanes = spec, strip, lanes
        self.data, self.weights, self.output = data, weights, output
        self.workspace, self.finish = workspace, finish
        self.block = layout_block(spec.in_layout)
        self.blocks_in = up(spec.channels, self.block) // self.block
        self.blocks_out = up(spec.filters, lanes) // lanes
        self.taps = spec.kernel[0] * spec.kernel[1]
        self.ahead = strip.ahead
        self.steps = strip.blocks * self.taps
        self.sums = strip.pixels * self.steps * self.block

    def task(self, task: Expr) -> None:
        strips = -(-self.spec.pixels // self.strip.pixels)
        self.image = task // (strips * self.strip.splits)
        part, first = task // strips % self.strip.splits, task % strips * self.strip.pixels
        count = T.min(self.strip.pixels, self.spec.pixels - first)
        groups = self.blocks_out // self.strip.vectors // self.strip.splits
        tiles = (count + self.strip.rows - 1) // self.strip.rows
        with T.serial(0, self.blocks_in // self.strip.blocks) as chunk:
            with T.serial(0, count) as pixel:
                self._copy(chunk * self.strip.blocks, first + pixel, pixel)
            with T.serial(0, groups) as g, T.serial(0, tiles) as tile:
                self._tile(chunk, part * groups + g, g, first, tile * self.strip.rows)

    def _copy(self, first: Expr, pixel: Expr, place: Expr) -> None:
        """The chunk's taps of one output pixel, zero where they leave the image."""
        spec, block = self.spec, self.block
        row = pixel // spec.out_width * spec.strides[0] - spec.pads[0]
        column = pixel % spec.out_width * spec.strides[1] - spec.pads[1]
        with T.serial(0, spec.kernel[0]) as kh, T.serial(0, spec.kernel[1]) as kw:
            r, c = row + kh * spec.dilations[0], column + kw * spec.dilations[1]
            inside = (r >= 0) & (r < spec.height) & (c >= 0) & (c < spec.width)
            with T.serial(0, self.strip.blocks) as cb:
                step = (cb * spec.kernel[0] + kh) * spec.kernel[1] + kw
                to = (step * self.strip.pixels + place) * block
                source = (
                    ((self.image * self.blocks_in + first + cb) * spec.height + r) * spec.width + c
                ) * block
                with T.If(inside):
                    with T.Then():
                        store(self.workspace, to, load(self.data, source, block), block)
                    with T.Else():
                        store(self.workspace, to, splat(0.0, block), block)

    def _tile(self, chunk: Expr, group: Expr, local: Expr, first: Expr, start: Expr) -> None:
        rows, vectors, lanes = self.strip.rows, self.strip.vectors, self.lanes
        acc = Registers(rows * vectors, lanes)
        sums = self.sums + (local * self.strip.pixels + start) * vectors * lanes
        with T.If(chunk == 0):
            with T.Then():
                for at in range(rows * vectors):
                    acc[at] = self.finish.start((group * vectors + at % vectors) * lanes)
            with T.Else():
                for at in range(rows * vectors):
                    acc[at] = load(self.workspace, sums + at * lanes, lanes)
        unroll = min(self.block, 4)
        with T.serial(0, self.steps) as step, T.serial(0, self.block // unroll) as outer:
            for inner in range(unroll):
                self._step(acc, (group, chunk), step, start, outer * unroll + inner)
        with T.If(chunk < self.blocks_in // self.strip.blocks - 1):
            with T.Then():
                for at in range(rows * vectors):
                    store(self.workspace, sums + at * lanes, acc[at], lanes)
            with T.Else():
                self._finish(acc, group, first + start)

    def _finish(self, acc: Any, group: Expr, first: Expr) -> None:
        vectors, lanes = self.strip.vectors, self.lanes
        for r in range(self.strip.rows):
            with T.If(first + r < self.spec.pixels), T.Then():
                for v in range(vectors):
                    block = group * vectors + v
                    pixel = (self.image * self.blocks_out + block) * self.spec.pixels + first + r
                    self._store(acc[r * vectors + v], pixel * lanes, block * lanes)

    def _step(self, acc: Any, panel: tuple[Expr, Expr], step: Expr, start: Expr, lane: Expr) -> None:
        vectors, lanes, block = self.strip.vectors, self.lanes, self.block
        group, chunk = panel
        weight = (
            ((group * self.blocks_in * self.taps + chunk * self.steps + step) * block + lane)
            * vectors
            * lanes
        )
        if self.ahead:  # the next group's weights for the same taps
            ahead = self.blocks_in * self.taps * block * vectors * lanes
            for line in range(0, vectors * lanes, LINE):
                prefetch(self.weights, weight + ahead + line, 2)
        for r in range(self.strip.rows):
            element = splat(self.workspace[(step * self.strip.pixels + start + r) * block + lane], lanes)
            for v in range(vectors):
                at = r * vectors + v
                acc[at] = T.fma(element, load(self.weights, weight + v * lanes, lanes), acc[at])
        fence(self.workspace, self.weights)

    def _store(self, value: Expr, index: Expr, channel: Expr) -> None:
        store(self.output, index, self.finish.finish(value, index, channel), self.lanes)


IM2ROW = Im2row()
