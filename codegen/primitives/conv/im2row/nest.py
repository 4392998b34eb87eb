"""The loops of im2row; see `primitive`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ....rounding import up
from ....tir import T, fence, load, prefetch, prim_func, splat, store, view
from ....vector.across import CHANNELS
from ...specs import ConvSpec, layout_block
from ..arithmetic import Arithmetic
from ..ending import kernel_pointers, opened
from ..sums_of_channels import SumsOfChannels
from .plan import LINE, Strip, depth, pieces, unrolled

Expr = Any
Buffer = Any
Pointers = list[str | tuple[str, str]]

_PIECES = 16  # vectors of bytes that are copied one by one


def build(spec: ConvSpec, strip: Strip, arithmetic: Arithmetic, offset: int = 0) -> Any:
    """The PrimFunc. Bytes are copied less `offset`, 0 or 128."""
    nest = _Bytes if spec.element_bytes == 1 else _Floats

    def body(*args: Any) -> None:
        *buffers, workspace, begin, end = args
        tasks = nest(spec, strip, arithmetic, tuple(buffers), workspace)
        tasks.offset = offset
        with T.serial(begin, end) as task:
            tasks.task(task)

    return prim_func(nest.pointers(spec), body)


@dataclass(frozen=True)
class _Place:
    """A register tile: its group of filters, the group's number in the task, the tile's; all expressions."""

    group: Expr
    local: Expr
    tile: Expr


class _Nest(ABC):
    """Emits one task: a strip's taps are copied, and multiplied with a part of the filters."""

    offset = 0

    def __init__(
        self,
        spec: ConvSpec,
        strip: Strip,
        arithmetic: Arithmetic,
        buffers: tuple[Buffer, ...],
        workspace: Buffer,
    ) -> None:
        self.spec, self.strip, self.arithmetic = spec, strip, arithmetic
        self.copied = view(workspace, self.element)
        self.data, self.weights, self.finish = opened(spec, arithmetic.lanes, self.usual(buffers))
        self.block = layout_block(spec.in_layout)
        self.blocks_in = up(spec.channels, self.block) // self.block

    @staticmethod
    def pointers(spec: ConvSpec) -> Pointers:
        """Parameters before the workspace."""
        return kernel_pointers(spec)

    @property
    def element(self) -> str:
        """The type of what is copied."""
        return self.spec.dtype

    def usual(self, buffers: tuple[Buffer, ...]) -> tuple[Buffer, ...]:
        """The buffers that every convolution has."""
        return buffers

    @contextmanager
    def chunk(self) -> Iterator[None]:
        """What is done for each part of the taps that is copied and multiplied at a time."""
        yield

    @abstractmethod
    def copy(self, pixel: Expr, number: Expr) -> None:
        """The taps of an output pixel, which is `number` of the strip."""

    @abstractmethod
    def products(self, acc: Any, place: _Place) -> None:
        """Adds the products of all taps that were copied."""

    def task(self, task: Expr) -> None:
        spec, strip = self.spec, self.strip
        strips = -(-spec.pixels // strip.pixels)
        self.image, part = task // (strips * strip.splits), task // strips % strip.splits
        self.first = task % strips * strip.pixels
        count = T.min(strip.pixels, spec.pixels - self.first)
        groups = spec.filter_groups(self.arithmetic.lanes, strip.vectors) // strip.splits
        with self.chunk():
            with T.serial(0, count) as pixel:
                self.copy(self.first + pixel, pixel)
            with T.serial(0, groups) as g, T.serial(0, (count + strip.rows - 1) // strip.rows) as tile:
                self._tile(_Place(part * groups + g, g, tile))

    def _tile(self, place: _Place) -> None:
        acc = self.arithmetic.registers(self.strip.rows * self.strip.vectors)
        self.begin(acc, place)
        sums = self.arithmetic.opened(acc, self.strip.vectors)
        self.products(sums, place)
        self.end(self.arithmetic.closed(sums, self.strip.vectors), place)

    def begin(self, acc: Any, place: _Place) -> None:
        """Padding was copied, so all pixels start alike."""
        for at in range(acc.count):
            channel = self._channel(place, at % self.strip.vectors)
            acc[at] = self.finish.start(channel, (0, self.spec.kernel[0]), ())

    def end(self, acc: Any, place: _Place) -> None:
        """The results of the pixels that the image has."""
        first, vectors = self.first + place.tile * self.strip.rows, self.strip.vectors
        for r in range(self.strip.rows):
            with T.If(first + r < self.spec.pixels), T.Then():
                totals = [acc[r * vectors + v] for v in range(vectors)]
                self.finish.store_all(totals, self.image, first + r, self._channel(place, 0))

    def _channel(self, place: _Place, vector: int) -> Expr:
        """The first filter of a vector."""
        return (place.group * self.strip.vectors + vector) * self.arithmetic.lanes

    def origin(self, pixel: Expr) -> tuple[Expr, Expr]:
        """Row and column of the image at an output pixel's first tap."""
        spec = self.spec
        row = pixel // spec.out_width * spec.strides[0] - spec.pads[0]
        return row, pixel % spec.out_width * spec.strides[1] - spec.pads[1]

    def source(self, block: Expr, row: Expr, column: Expr) -> Expr:
        """Where a block of channels lies in the image."""
        line = ((self.image * self.blocks_in + block) * self.spec.height + row) * self.spec.width
        return (line + column) * self.block


class _Floats(_Nest):
    """Copied taps lie as [input block][kh][kw][pixel][input lane]; behind them sums wait between chunks."""

    @contextmanager
    def chunk(self) -> Iterator[None]:
        taps = self.spec.kernel[0] * self.spec.kernel[1]
        self.steps, self.all_steps = self.strip.blocks * taps, self.blocks_in * taps
        with T.serial(0, self.blocks_in // self.strip.blocks) as number:
            self.number = number
            yield

    def copy(self, pixel: Expr, number: Expr) -> None:
        spec, block = self.spec, self.block
        row, column = self.origin(pixel)
        with T.serial(0, spec.kernel[0]) as kh, T.serial(0, spec.kernel[1]) as kw:
            r, c = row + kh * spec.dilations[0], column + kw * spec.dilations[1]
            inside = (r >= 0) & (r < spec.height) & (c >= 0) & (c < spec.width)
            with T.serial(0, self.strip.blocks) as cb:
                to = self._copied((cb * spec.kernel[0] + kh) * spec.kernel[1] + kw, number)
                source = self.source(self.number * self.strip.blocks + cb, r, c)
                with T.If(inside):
                    with T.Then():
                        store(self.copied, to, load(self.data, source, block), block)
                    with T.Else():
                        store(self.copied, to, splat(0.0, block, spec.dtype), block)

    def _copied(self, step: Expr, number: Expr) -> Expr:
        """Where a tap of a pixel lies in the workspace."""
        return (step * self.strip.pixels + number) * self.block

    def _sums(self, place: _Place) -> Expr:
        """Where a tile's sums wait."""
        first = place.local * self.strip.pixels + place.tile * self.strip.rows
        copied = self.strip.pixels * self.steps * self.block
        return copied + first * self.strip.vectors * self.arithmetic.lanes

    def begin(self, acc: Any, place: _Place) -> None:
        lanes = self.arithmetic.lanes
        with T.If(self.number == 0):
            with T.Then():
                super().begin(acc, place)
            with T.Else():
                for at in range(acc.count):
                    acc[at] = load(self.copied, self._sums(place) + at * lanes, lanes)

    def end(self, acc: Any, place: _Place) -> None:
        lanes = self.arithmetic.lanes
        with T.If(self.number < self.blocks_in // self.strip.blocks - 1):
            with T.Then():
                for at in range(acc.count):
                    store(self.copied, self._sums(place) + at * lanes, acc[at], lanes)
            with T.Else():
                super().end(acc, place)

    def products(self, acc: Any, place: _Place) -> None:
        unroll = min(self.block, self.arithmetic.unroll)
        at_once = min(self.arithmetic.at_once, unroll)
        with T.serial(0, self.steps) as step, T.serial(0, self.block // unroll) as outer:
            for inner in range(0, unroll, at_once):
                self._lanes(acc, place, step, outer * unroll + inner, at_once)

    def _lanes(self, acc: Any, place: _Place, step: Expr, lane: Expr, count: int) -> None:
        """Successive lanes of a tap from `lane` on; asks for the next group's weights of the same."""
        width = self.strip.vectors * self.arithmetic.width
        tap = place.group * self.all_steps + self.number * self.steps + step
        weight = (tap * self.block + lane) * width
        for line in range(self.strip.ahead * count):
            ahead = self.all_steps * self.block * width + line * self.arithmetic.line
            prefetch(self.weights, weight + ahead, 2)
        first, rows = place.tile * self.strip.rows, range(self.strip.rows)
        elements = {r: self._copied(step, first + r) + lane for r in rows}
        weights = (self.weights, weight)
        self.arithmetic.multiply(acc, (self.copied, elements), weights, self.strip.vectors, count)
        fence(self.copied, self.weights)


class _Bytes(_Nest):
    """Copied taps lie as [pixel][kh][kw][channel]. A block of padding is a constant beside the weights."""

    @property
    def element(self) -> str:
        return "uint8"

    def usual(self, buffers: tuple[Buffer, ...]) -> tuple[Buffer, ...]:
        *before, self.padding = buffers[:-4]
        self.widest, self.taps = 4 * self.arithmetic.lanes, depth(self.spec, self.arithmetic.step)
        return (*before, *buffers[-4:])

    @staticmethod
    def pointers(spec: ConvSpec) -> Pointers:
        named = kernel_pointers(spec)
        return [*named[:-4], ("padding", "uint8"), *named[-4:]]

    def copy(self, pixel: Expr, number: Expr) -> None:
        """Whole blocks are written: what goes too far, the next overwrite."""
        spec, to = self.spec, number * self.taps.stride
        row, column = self.origin(pixel)
        with T.serial(0, spec.kernel[0]) as kh:
            r, at = row + kh * spec.dilations[0], to + kh * (spec.kernel[1] * self.taps.tap)
            inside = (r >= 0) & (r < spec.height)
            if not self.taps.joined:
                self._each(inside, r, column, at)
                return
            within = (column >= 0) & (column + spec.kernel[1] <= spec.width)
            with T.If(inside & within):
                with T.Then():
                    self._joined(r, column, at)
                with T.Else():
                    self._each(inside, r, column, at)

    def _joined(self, row: Expr, column: Expr, to: Expr) -> None:
        """A kernel row of taps at once; what is more than a few vectors in a loop."""
        source, total = self.source(0, row, column), self.spec.kernel[1] * self.taps.tap
        looped = total // self.widest * self.widest if total > _PIECES * self.widest else 0
        if looped:
            with T.serial(0, looped // self.widest) as piece:
                offset = piece * self.widest
                self._move(self.data, source + offset, to + offset, self.widest)
        for offset, width in pieces(total, self.widest):
            if offset + width > looped:
                self._move(self.data, source + offset, to + offset, width)

    def _each(self, inside: Expr, row: Expr, column: Expr, to: Expr) -> None:
        """Tap after tap of a kernel row, padding where they leave the image."""
        spec = self.spec
        with T.serial(0, spec.kernel[1]) as kw:
            c, at = column + kw * spec.dilations[1], to + kw * self.taps.tap
            with T.If(inside & (c >= 0) & (c < spec.width)):
                with T.Then(), T.serial(0, self.blocks_in) as cb:
                    self._move(self.data, self.source(cb, row, c), at + cb * self.block, self.block)
                with T.Else(), T.serial(0, self.blocks_in) as cb:
                    self._move(self.padding, 0, at + cb * self.block, self.block)

    def _move(self, source: Buffer, index: Expr, to: Expr, width: int) -> None:
        moved = load(source, index, width)
        store(self.copied, to, moved ^ splat(self.offset, width, "uint8") if self.offset else moved, width)

    def products(self, acc: Any, place: _Place) -> None:
        if isinstance(self.arithmetic, SumsOfChannels):
            self._sums_of_channels(self.arithmetic, acc, place)
            return
        unroll, at_once = unrolled(self.taps.steps, self.arithmetic), self.arithmetic.at_once
        with T.serial(0, self.taps.steps // unroll) as outer:
            self._ask(place, outer)
            for inner in range(0, unroll, at_once):
                self._steps(acc, place, outer * unroll + inner, min(at_once, unroll - inner))

    def _steps(self, acc: Any, place: _Place, step: Expr, count: int) -> None:
        """Successive steps from number `step` on."""
        rows, width = self.strip.rows, self.strip.vectors * self.arithmetic.width
        elements = {
            r: (place.tile * rows + r) * self.taps.stride + step * self.arithmetic.step for r in range(rows)
        }
        weights = (self.weights, (place.group * self.taps.steps + step) * width)
        self.arithmetic.multiply(acc, (self.copied, elements), weights, self.strip.vectors, count)

    def _sums_of_channels(self, arithmetic: SumsOfChannels, acc: Any, place: _Place) -> None:
        """The same of a stream of weights; the first step begins sums."""
        rows, width = range(self.strip.rows), self.strip.vectors * self.arithmetic.width
        stream = (self.weights, place.group * self.taps.steps * width)
        weights = arithmetic.weights_of(stream, self.strip.vectors)

        def step(number: Expr) -> None:
            self._ask(place, number)
            first = place.tile * self.strip.rows * self.taps.stride + number * arithmetic.step
            places = {r: first + r * self.taps.stride for r in rows}
            weights.tap(acc, {r: arithmetic.pixel(self.copied, at, CHANNELS) for r, at in places.items()})
            fence(self.copied, self.weights, always=True)

        step(0)
        with T.serial(1, self.taps.steps) as number:
            step(number)

    def _ask(self, place: _Place, outer: Expr) -> None:
        """Prefetches this block of code's share of the next group's weights, which all tiles read."""
        panel, share = self.taps.steps * self.strip.vectors * self.arithmetic.width, self.strip.ahead * LINE
        number = place.tile * (self.taps.steps // unrolled(self.taps.steps, self.arithmetic)) + outer
        for line in range(0, share, LINE):
            prefetch(self.weights, (place.group + 1) * panel + number * share + line, 2)
