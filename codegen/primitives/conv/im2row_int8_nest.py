"""The loops of im2row on bytes; see `linear_im2row`."""

from __future__ import annotations

from typing import Any

from ...tir import T, load, prefetch, prim_func, store, view
from ...vector.dot import QUAD
from ..specs import layout_block, up
from .arithmetic import Arithmetic
from .ending import LinearFinish, linear_pointers
from .im2row_int8 import Strip, depth, pieces, unrolled
from .int8_spec import LinearSpec

Expr = Any
Buffer = Any

_LINE = 64
_PIECES = 16  # vectors that are copied one by one


def build(spec: LinearSpec, strip: Strip, arithmetic: Arithmetic, widest: int) -> Any:
    """The PrimFunc; copies are of vectors of at most `widest` bytes."""

    def body(*args: Any) -> None:
        *buffers, workspace, begin, end = args
        nest = _Nest(spec, strip, arithmetic, widest, (tuple(buffers), workspace))
        with T.serial(begin, end) as task:
            nest.task(task)

    named = linear_pointers(spec)
    place = named.index(("starts", "int32"))
    return prim_func([*named[:place], ("padding", "uint8"), *named[place:]], body)


class _Nest:
    """Emits one task. The copied taps lie as [pixel][kh][kw][channel]."""

    def __init__(
        self,
        spec: LinearSpec,
        strip: Strip,
        arithmetic: Arithmetic,
        widest: int,
        buffers: tuple[tuple[Buffer, ...], Buffer],
    ) -> None:
        self.spec, self.strip, self.arithmetic, self.widest = spec, strip, arithmetic, widest
        (self.data, *residual, self.weights, self.padding), ending = buffers[0][:-4], buffers[0][-4:]
        self.copied = view(buffers[1], "uint8")
        self.finish = LinearFinish(spec, arithmetic.lanes, (*residual, *ending))
        self.block, self.taps = layout_block(spec.in_layout), depth(spec)
        self.blocks_in = up(spec.channels, self.block) // self.block
        self.steps = self.taps.bytes // QUAD

    def task(self, task: Expr) -> None:
        spec, strip = self.spec, self.strip
        strips = -(-spec.pixels // strip.pixels)
        self.image, part = task // (strips * strip.splits), task // strips % strip.splits
        first = task % strips * strip.pixels
        count = T.min(strip.pixels, spec.pixels - first)
        groups = spec.filter_vectors(self.arithmetic.lanes) // strip.vectors // strip.splits
        with T.serial(0, count) as pixel:
            self._copy(first + pixel, pixel * self.taps.stride)
        with T.serial(0, groups) as g, T.serial(0, (count + strip.rows - 1) // strip.rows) as tile:
            self._tile(part * groups + g, first, tile)

    def _copy(self, pixel: Expr, to: Expr) -> None:
        """The taps of one output pixel. Whole blocks are written: what goes too far, the next overwrite."""
        spec = self.spec
        row = pixel // spec.out_width * spec.strides[0] - spec.pads[0]
        column = pixel % spec.out_width * spec.strides[1] - spec.pads[1]
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
        source = ((self.image * self.spec.height + row) * self.spec.width + column) * self.block
        total = self.spec.kernel[1] * self.taps.tap
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
                    line = ((self.image * self.blocks_in + cb) * spec.height + row) * spec.width + c
                    self._move(self.data, line * self.block, at + cb * self.block, self.block)
                with T.Else(), T.serial(0, self.blocks_in) as cb:
                    self._move(self.padding, 0, at + cb * self.block, self.block)

    def _move(self, source: Buffer, index: Expr, to: Expr, width: int) -> None:
        store(self.copied, to, load(source, index, width), width)

    def _tile(self, group: Expr, first: Expr, tile: Expr) -> None:
        rows, vectors, unroll = self.strip.rows, self.strip.vectors, unrolled(self.steps)
        acc, start = self.arithmetic.registers(rows * vectors), tile * rows
        for at in range(rows * vectors):
            acc[at] = self.finish.start(self._channel(group, at % vectors), (0, self.spec.kernel[0]), ())
        with T.serial(0, self.steps // unroll) as outer:
            self._ask(group, tile, outer)
            for inner in range(unroll):
                self._step(acc, group, start, outer * unroll + inner)
        for r in range(rows):
            with T.If(first + start + r < self.spec.pixels), T.Then():
                for v in range(vectors):
                    pixel = first + start + r
                    self.finish.store(acc[r * vectors + v], self.image, pixel, self._channel(group, v))

    def _channel(self, group: Expr, vector: int) -> Expr:
        """The first filter of a vector."""
        return (group * self.strip.vectors + vector) * self.arithmetic.lanes

    def _ask(self, group: Expr, tile: Expr, outer: Expr) -> None:
        """Prefetches this block of code's share of the next group's weights, which all tiles read."""
        panel, share = self.steps * self.strip.vectors * self.arithmetic.width, self.strip.ahead * _LINE
        number = tile * (self.steps // unrolled(self.steps)) + outer
        for line in range(0, share, _LINE):
            prefetch(self.weights, (group + 1) * panel + number * share + line, 2)

    def _step(self, acc: Any, group: Expr, start: Expr, step: Expr) -> None:
        """acc[r][v] += the quad of pixel r . the weights of vector v."""
        arithmetic, vectors = self.arithmetic, self.strip.vectors
        at = (group * self.steps + step) * (vectors * arithmetic.width)
        weights = [arithmetic.weights(self.weights, at + v * arithmetic.width) for v in range(vectors)]
        for r in range(self.strip.rows):
            element = arithmetic.element(self.copied, (start + r) * self.taps.stride + step * QUAD)
            for v in range(vectors):
                arithmetic.accumulate(acc, r * vectors + v, element, weights[v])
