"""The loops of convolution by tiles; see `plan`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from ....targets.isa import Tiles
from ....tir import T, load, prim_func, splat, store, view, when
from ....vector.requantize import BLOCK
from ....vector.tiles import SHAPES_BYTES, TileCode
from ..ending import linear_pointers, opened
from ..int8_spec import LinearSpec
from .plan import Copied, Shape, Strip, filter_tiles, scratch_bytes, shape_of

Expr = Any
Buffer = Any

_UNROLLED = 8  # vectors that are filled or copied one by one


def build(spec: LinearSpec, strip: Strip, tiles: Tiles) -> Any:
    """The PrimFunc."""

    def body(*args: Any) -> None:
        *buffers, workspace, begin, end = args
        nest = _Nest(spec, strip, tiles, tuple(buffers), workspace)
        nest.code.configure(nest.room)
        with T.serial(begin, end) as task:
            nest.task(task)
        nest.code.release()

    named = linear_pointers(spec)
    return prim_func([*named[:-4], ("padding", "uint8"), *named[-4:]], body)


class _Nest:
    """Emits one task: a strip of the image is copied, and multiplied with a part of the filters."""

    def __init__(
        self, spec: LinearSpec, strip: Strip, tiles: Tiles, buffers: tuple[Buffer, ...], workspace: Buffer
    ) -> None:
        self.spec, self.strip, self.tiles = spec, strip, tiles
        self.code, self.copied = TileCode(tiles), Copied(spec, strip.rows, tiles)
        *before, self.padding = buffers[:-4]
        usual = (*before, *buffers[-4:])
        self.data, self.weights, self.finish = opened(spec, tiles.columns, usual)
        self.room, self.sums = view(workspace, "uint8"), view(workspace, "int32")
        self.image_at = SHAPES_BYTES + scratch_bytes(tiles)

    def task(self, task: Expr) -> None:
        spec, strip = self.spec, self.strip
        strips = -(-spec.out_height // strip.rows)
        self.image, part = task // (strips * strip.splits), task // strips % strip.splits
        self.first = task % strips * strip.rows
        self.count = T.min(strip.rows, spec.out_height - self.first)
        self._copy()
        vectors = filter_tiles(spec, self.tiles)
        shape = shape_of(vectors)
        groups = vectors // shape.filters // strip.splits
        panel = shape.filters * self.copied.steps * self.tiles.rows * self.tiles.row_bytes
        with T.serial(0, groups) as group:
            number = part * groups + group
            self._group(shape, number * shape.filters, number * panel)
        if vectors % shape.filters:
            last = vectors - vectors % shape.filters
            self._group(Shape(2, 1), last, last // shape.filters * panel)

    # The image

    def _copy(self) -> None:
        copied, spec = self.copied, self.spec
        with T.serial(0, copied.phases) as phase, T.serial(0, copied.lines) as line:
            row = (self.first + line) * spec.strides[0] - spec.pads[0] + phase
            to = self.image_at + phase * copied.plane + line * (copied.width * copied.pitch)
            with T.If((row >= 0) & (row < spec.height)):
                with T.Then():
                    self._row(row, to)
                with T.Else():
                    self._fill(to, copied.width * copied.pitch)
        beyond = copied.needed - copied.width
        if beyond > 0:
            with T.serial(0, copied.phases) as phase:
                end = self.image_at + phase * copied.plane + copied.lines * copied.width * copied.pitch
                self._fill(end, beyond * copied.pitch)

    def _row(self, row: Expr, to: Expr) -> None:
        copied, pitch = self.copied, self.copied.pitch
        self._fill(to, copied.left * pitch)
        self._fill(to + copied.end * pitch, (copied.width - copied.end) * pitch)
        first = copied.left * copied.skip - self.spec.pads[1]
        columns = copied.end - copied.left
        if columns <= 0:
            return
        if copied.blocks == 1 and copied.skip == 1 and pitch == copied.block:
            self._move(self._source(0, row, first), to + copied.left * pitch, columns * pitch)
            return
        with T.serial(0, columns) as column:
            at, source = to + (copied.left + column) * pitch, first + column * copied.skip
            fours, rest = divmod(copied.blocks, 4)
            with T.serial(0, fours) if fours > 1 else nullcontext(0) as four:
                if fours:
                    self._joined(
                        [self._source(four * 4 + k, row, source) for k in range(4)], at + four * 4 * BLOCK
                    )
            if rest:
                self._pieces(fours * 4, rest, row, source, at)

    def _joined(self, sources: list[Expr], to: Expr) -> None:
        """Blocks of one pixel as one vector."""
        block = self.copied.block
        parts = [load(self.data, source, block) for source in sources]
        store(self.room, to, T.Shuffle(parts, list(range(block * len(parts)))), block * len(parts))

    def _pieces(self, first: int, count: int, row: Expr, column: Expr, to: Expr) -> None:
        block = self.copied.block
        for cb in range(first, first + count):
            value = load(self.data, self._source(cb, row, column), block)
            store(self.room, to + cb * block, value, block)

    def _source(self, block: Expr, row: Expr, column: Expr) -> Expr:
        spec, copied = self.spec, self.copied
        line = ((self.image * copied.blocks + block) * spec.height + row) * spec.width
        return (line + column) * copied.block

    def _fill(self, to: Expr, count: int) -> None:
        """With padding."""
        self._each(count, lambda at, n: store(self.room, to + at, splat(self.padding[0], n), n))

    def _move(self, source: Expr, to: Expr, count: int) -> None:
        self._each(count, lambda at, n: store(self.room, to + at, load(self.data, source + at, n), n))

    def _each(self, count: int, emit: Any) -> None:
        """`emit` of the place and the bytes of each vector of `count` bytes, at least 4."""
        widest, at = self.tiles.row_bytes, 0
        if count > _UNROLLED * widest:
            with T.serial(0, count // widest) as number:
                emit(number * widest, widest)
            at = count // widest * widest
        while at < count:
            size = min(widest, 1 << ((count - at).bit_length() - 1))
            emit(at, size)
            at += size

    # The products

    def _group(self, shape: Shape, vector: Expr, weights: Expr) -> None:
        """All pixels of the strip by the filters from vector number `vector` on."""
        rows, copied = self.tiles.rows, self.copied
        self.end = (self.count - 1) * copied.pixels + self.spec.out_width
        tiles = (self.end + rows - 1) // rows
        with T.serial(0, tiles // shape.pixels) as block:
            self._block(shape, block * (shape.pixels * rows), vector, weights)
        whole = tiles // shape.pixels * shape.pixels
        with T.serial(whole, tiles) as tile:
            self._block(Shape(1, shape.filters), tile * rows, vector, weights)

    def _block(self, shape: Shape, pixel: Expr, vector: Expr, weights: Expr) -> None:
        for tile in range(shape.sums):
            self.code.clear(tile)
        copied, spec, steps = self.copied, self.spec, self.copied.chunks
        with T.serial(0, spec.kernel[0]) as kh, T.serial(0, copied.runs) as kw, T.serial(0, steps) as chunk:
            step = (kh * copied.runs + kw) * steps + chunk
            self._step(shape, self._tap(kh, kw) + chunk * self.tiles.row_bytes, pixel, weights, step)
        apart = shape.filters * self.tiles.row_bytes
        for i in range(shape.pixels):
            for j in range(shape.filters):
                at = SHAPES_BYTES + i * self.tiles.rows * apart + j * self.tiles.row_bytes
                self.code.store(i * shape.filters + j, self.room, at, apart)
        self._end(shape, pixel, vector)

    def _tap(self, kh: Expr, kw: Expr) -> Expr:
        """Where a tap of the strip's first pixel lies."""
        copied, spec = self.copied, self.spec
        row = kh * spec.dilations[0]
        phase, line = row % spec.strides[0], row // spec.strides[0]
        column = line * copied.width + kw * spec.dilations[1]
        return self.image_at + phase * copied.plane + column * copied.pitch

    def _step(self, shape: Shape, tap: Expr, pixel: Expr, weights: Expr, step: Expr) -> None:
        tiles, apart = self.tiles, self.copied.stride * self.copied.pitch
        size, first = tiles.rows * tiles.row_bytes, shape.sums
        filters = [first + j for j in range(shape.filters)]
        pixels = [first + shape.filters + i for i in range(tiles.registers - first - shape.filters)]
        for j, tile in enumerate(filters):
            self.code.load(tile, self.weights, weights + (step * shape.filters + j) * size, tiles.row_bytes)
        for i in range(shape.pixels):
            tile = pixels[i % len(pixels)]
            self.code.load(tile, self.room, tap + (pixel + i * tiles.rows) * apart, apart)
            for j, other in enumerate(filters):
                self.code.multiply(i * shape.filters + j, tile, other)

    def _end(self, shape: Shape, pixel: Expr, vector: Expr) -> None:
        """The results of a block, but for what lies between the ends of rows."""
        copied, spec, columns = self.copied, self.spec, self.tiles.columns
        with T.serial(0, T.min(shape.pixels * self.tiles.rows, self.end - pixel)) as number:
            row, column = (pixel + number) // copied.pixels, (pixel + number) % copied.pixels
            with when(column < spec.out_width if copied.pixels > spec.out_width else True):
                for j in range(shape.filters):
                    channel = (vector + j) * columns
                    at = SHAPES_BYTES // 4 + (number * shape.filters + j) * columns
                    start = self.finish.start(channel, (0, spec.kernel[0]), ())
                    place = (self.first + row) * spec.out_width + column
                    self.finish.store(load(self.sums, at, columns) + start, self.image, place, channel)
