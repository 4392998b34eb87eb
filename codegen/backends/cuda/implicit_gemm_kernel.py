"""The kernel of `implicit_gemm`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...primitives.conv.ending import FloatFinish, LinearFinish
from ...primitives.conv.int8_spec import LinearSpec
from ...primitives.specs import ConvSpec, layout_block
from ...rounding import up
from ...tir import T, load, splat, store, view, when
from ...vector.shuffles import hold
from .block import WORDS, Words, barrier, thread
from .tile import STAGES, Tile

Expr = Any
Buffer = Any
_PAIR = "float16x2"


@dataclass(frozen=True)
class GemmSpec:
    """A convolution whose channels lie in `blocks`; `dot`: four bytes times four are one instruction.

    `signed` are the pixels' bytes; weights always are.
    """

    conv: ConvSpec
    tile: Tile
    blocks: int
    dot: bool
    signed: bool = False

    @property
    def dtype(self) -> str:
        """Of words and of sums; two binary16 are the bits of an integer."""
        return "float32" if self.conv.element_bytes == 4 else "int32"

    @property
    def pairs(self) -> bool:
        """Whether a word is two binary16."""
        return self.conv.element_bytes == 2

    @property
    def steps(self) -> int:
        return self.blocks // self.tile.blocks * self.conv.kernel[0] * self.conv.kernel[1]

    @property
    def filter_tiles(self) -> int:
        lanes = {1: 16, 2: 8, 4: WORDS}[self.conv.element_bytes]
        return -(-up(self.conv.filters, lanes) // self.tile.filters)

    @property
    def padded(self) -> bool:
        """Whether taps may lie outside the image."""
        conv = self.conv
        sizes = (conv.height, conv.width)
        outs = (conv.out_height, conv.out_width)
        return any(conv.pads) or any(
            (out - 1) * stride + conv.span(axis) > size
            for axis, (out, stride, size) in enumerate(zip(outs, conv.strides, sizes, strict=True))
        )


class Gemm:
    """One block of threads."""

    def __init__(self, spec: GemmSpec, buffers: tuple[Buffer, ...]) -> None:
        self.spec, self.tile, self.conv = spec, spec.tile, spec.conv
        *buffers_, shared, self.block, _ = buffers
        self.shared = view(shared, spec.dtype)
        self._open(buffers_)
        self.thread = held(thread())
        self.filter_tile, self.first_pixel = self._number()
        self._divide()

    def _divide(self) -> None:
        """What this thread computes of the block's results: rows of pixels, and columns of filters."""
        across = self.tile.filters // self.tile.thread_filters
        self.row = held(T.truncdiv(self.thread, across))
        self.column = held(T.truncmod(self.thread, across) * self.tile.thread_filters)

    def _number(self) -> tuple[Expr, Expr]:
        """The block's tile of filters, and its first pixel of all images."""
        filter_tile = held(T.truncmod(self.block, self.spec.filter_tiles))
        pixel = held(T.truncdiv(self.block, self.spec.filter_tiles) * self.tile.pixels)
        return filter_tile, pixel

    def _open(self, buffers: list[Buffer]) -> None:
        """Data, weights, what padding is, and the ending."""
        conv = self.conv
        extras = bool(conv.ending.residual) if isinstance(conv, LinearSpec) else len(conv.extras)
        self.data, self.weights = (view(b, self.spec.dtype) for b in (buffers[0], buffers[1 + extras]))
        rest = [*buffers[1 : 1 + extras], *buffers[2 + extras :]]
        if isinstance(conv, LinearSpec):
            self.padding = view(rest.pop(extras), self.spec.dtype)
            self.finish: Any = LinearFinish(conv, WORDS, tuple(rest))
        else:
            self.padding = None
            self.finish = FloatFinish(conv, WORDS, tuple(rest))

    def emit(self) -> None:
        self._locate()
        self.sums = Words(self.tile.sums, self.spec.dtype)
        self._start()
        self._multiply_all(*self._steps())
        self._store()

    def _multiply_all(self, first: Any, count: Any) -> None:
        """Steps from `first` on: while one is multiplied, loads of the next one are under way."""
        self.weight_units = self._units(self.tile.filters)
        self.fetched, self.panels = (
            Words(WORDS * len(units), self.spec.dtype) for units in (self.pixel_units, self.weight_units)
        )
        self._fetch(first)
        self._share(0)
        barrier()
        with T.serial(0, count) as step:
            more = step + 1 < count
            with when(more):
                self._fetch(step + 1 + first)
            self._multiply(T.truncmod(step, STAGES) * self.tile.stage_words)
            with when(more):
                self._share(T.truncmod(step + 1, STAGES) * self.tile.stage_words)
            barrier()

    def _steps(self) -> tuple[Any, Any]:
        """The first step of this block's sums, and how many there are."""
        return 0, self.spec.steps

    # Where this thread's pixels lie ------------------------------------------------------------------

    def _units(self, rows: int) -> list[tuple[Expr, Any]]:
        """This thread's shares of `rows` times blocks: numbers, and when there is such a one."""
        count, threads = rows * self.tile.blocks, self.tile.threads
        found = []
        for first in range(0, count, threads):
            unit = self.thread + first
            found.append((unit, unit < count if first + threads > count else None))
        return found

    def _locate(self) -> None:
        """For each share: the pixel's first tap, as a row, a column, and an index of blocks of channels."""
        self.pixel_units = self._units(self.tile.pixels)
        count = len(self.pixel_units)
        self.rows, self.columns, self.places = (Words(count, "int32") for _ in range(3))
        conv = self.conv
        for i, (unit, _) in enumerate(self.pixel_units):
            row = T.truncmod(unit, self.tile.pixels)
            image, pixel = self._locate_pixel(T.min(self.first_pixel + row, self._end() - 1))
            within = held(pixel)
            self.rows[i] = T.truncdiv(within, conv.out_width) * conv.strides[0] - conv.pads[0]
            self.columns[i] = T.truncmod(within, conv.out_width) * conv.strides[1] - conv.pads[1]
            block = image * self.spec.blocks + T.truncdiv(unit, self.tile.pixels)
            self.places[i] = (block * conv.height + self.rows[i]) * conv.width + self.columns[i]

    def _locate_pixel(self, pixel: Expr) -> tuple[Expr, Expr]:
        """The image of a pixel of all, and its number there."""
        number = held(pixel)
        return T.truncdiv(number, self.conv.pixels), T.truncmod(number, self.conv.pixels)

    # A step's operands -------------------------------------------------------------------------------

    def _fetch(self, step: Expr) -> None:
        """From memory into registers: for each share, four words."""
        offset = self._move_to(step)
        for i, (_, there) in enumerate(self.pixel_units):
            self._if(there, lambda i=i: self._fetch_pixel(i, offset))
        panel = self.tile.filters * self.tile.blocks
        first = (self._panels() * self.spec.steps + step) * panel
        for i, (unit, there) in enumerate(self.weight_units):
            place = (first + unit) * WORDS
            self._if(there, lambda i=i, p=place: self.panels.fetch(WORDS * i, self.weights, p, WORDS))

    def _move_to(self, step: Expr) -> Expr:
        """Sets `down` and `along`, from a pixel's first tap to this step's; how far its blocks lie."""
        conv, kh, kw = self.conv, *self.conv.kernel
        tap = T.truncmod(step, kh * kw) if not isinstance(step, int) else step
        blocks = T.truncdiv(step, kh * kw) * self.tile.blocks if not isinstance(step, int) else 0
        down = (T.truncdiv(tap, kw) if kh > 1 else 0) * conv.dilations[0] if not isinstance(tap, int) else 0
        along = (T.truncmod(tap, kw) if kw > 1 else 0) * conv.dilations[1] if not isinstance(tap, int) else 0
        self.down, self.along = (held(v + T.int32(0)) for v in (down, along))
        return held((blocks * conv.height + down) * conv.width + along + T.int32(0))

    def _panels(self) -> Expr:
        """The number of this block's weights."""
        return self.filter_tile

    def _fetch_pixel(self, i: int, offset: Expr) -> None:
        place = (self.places[i] + offset) * WORDS
        if not self.spec.padded:
            self.fetched.fetch(WORDS * i, self.data, place, WORDS)
            return
        with T.If(self._inside(i)):
            with T.Then():
                self.fetched.fetch(WORDS * i, self.data, place, WORDS)
            with T.Else():
                self.fetched.put(WORDS * i, self._outside())

    def _inside(self, i: int) -> Expr:
        """When a share's pixel at this step's tap is one of the image's."""
        row, column, conv = self.rows[i] + self.down, self.columns[i] + self.along, self.conv
        return T.And(T.And(row >= 0, row < conv.height), T.And(column >= 0, column < conv.width))

    def _outside(self) -> Expr:
        if self.padding is not None:
            return load(self.padding, 0, WORDS)
        return splat(0, WORDS, self.spec.dtype)

    def _if(self, condition: Any, emit: Any) -> None:
        if condition is None:
            emit()
            return
        with when(condition):
            emit()

    def _share(self, stage: Expr) -> None:
        """From registers into shared memory: pixels word by word, side by side; weights as they are."""
        for i, (unit, there) in enumerate(self.pixel_units):
            self._if(there, lambda i=i, u=unit: self._share_pixel(i, u, stage))
        first = stage + self.tile.pitch * self.tile.blocks * WORDS
        for i, (unit, there) in enumerate(self.weight_units):
            place = first + unit * WORDS
            self._if(there, lambda i=i, p=place: store(self.shared, p, self.panels.quad(WORDS * i), WORDS))

    def _share_pixel(self, i: int, unit: Expr, stage: Expr) -> None:
        tile, pixel = self.tile, T.truncmod(unit, self.tile.pixels)
        row = T.truncdiv(unit, tile.pixels) * (WORDS * tile.pitch)
        if tile.thread_pitch != tile.thread_pixels:
            group = held(T.truncdiv(pixel, tile.thread_pixels))
            pixel = pixel + group * (tile.thread_pitch - tile.thread_pixels)
        place = held(stage + row + pixel)
        for word in range(WORDS):
            store(self.shared, place + word * tile.pitch, self.fetched[WORDS * i + word], 1)

    # Sums --------------------------------------------------------------------------------------------

    def _channel(self, j: int) -> Expr:
        return self.filter_tile * self.tile.filters + self.column + j

    def _first(self, j: int) -> Expr:
        """Where the sums of four filters start; those of pairs have their bias in the end."""
        if self.spec.pairs:
            return splat(0, WORDS, "int32")
        channel = self._channel(j)
        if self._exists(j) is not None:
            channel = held(T.min(channel, self._stored() - WORDS))  # others are not stored
        return hold(self.finish.start(channel, (0, 0), ()), WORDS, self.spec.dtype)

    def _start(self) -> None:
        tile = self.tile
        for j in range(0, tile.thread_filters, WORDS):
            first = self._first(j)
            for i in range(tile.thread_pixels):
                self.sums.put(i * tile.thread_filters + j, first)

    def _multiply(self, stage: Expr) -> None:
        self._multiply_pixels(stage, range(self.tile.thread_pixels), self.tile.thread_pitch)

    def _multiply_pixels(self, stage: Expr, rows: range, pitch: int) -> None:
        """Some pixels of the thread, of which `pitch` words are read at once."""
        tile = self.tile
        pixels, filters = (Words(n, self.spec.dtype) for n in (pitch, tile.thread_filters))
        panels, row = stage + tile.pitch * tile.blocks * WORDS, self.row * tile.thread_pitch + rows[0]
        with self._each(tile.blocks * WORDS) as several:
            for word in several:
                pixels.fetch(0, self.shared, stage + word * tile.pitch + row, pitch)
                filters.fetch(0, self.shared, panels + word * tile.filters + self.column, tile.thread_filters)
                for i in rows:
                    for j in range(tile.thread_filters):
                        at = i * tile.thread_filters + j
                        self.sums[at] = self._product(pixels[i - rows[0]], filters[j], self.sums[at])

    @contextmanager
    def _each(self, words: int) -> Iterator[Iterable[Expr]]:
        """The words of a step, written out, or in a loop where a product is many instructions."""
        if self.spec.dot or self.conv.element_bytes != 1:
            yield range(words)
            return
        with T.serial(0, words) as word:
            yield [word]

    def _product(self, a: Expr, b: Expr, total: Expr) -> Expr:
        if self.spec.dtype == "float32":
            return T.fma(a, b, total)
        if self.spec.pairs:
            return T.reinterpret("int32", T.fma(*(T.reinterpret(_PAIR, word) for word in (a, b, total))))
        if self.spec.dot:
            kind = "s" if self.spec.signed else "u"
            return T.call_llvm_pure_intrin("int32", f"llvm.nvvm.idp4a.{kind}.s", a, b, total)
        for place in range(0, 32, 8):
            left = (a << (24 - place)) >> 24 if self.spec.signed else (a >> place) & 255
            total = total + left * ((b << (24 - place)) >> 24)
        return total

    def _store(self) -> None:
        tile = self.tile
        for i in range(tile.thread_pixels):
            pixel = held(self.first_pixel + self.row * tile.thread_pixels + i)
            with when(pixel < self._end()):
                for j in range(0, tile.thread_filters, WORDS):
                    self._if(self._exists(j), lambda i=i, j=j, p=pixel: self._store_quad(i, j, p))

    def _end(self) -> int:
        """The number of pixels."""
        return self.conv.batch * self.conv.pixels

    def _exists(self, j: int) -> Any:
        """When the result has a block for these filters, or None where it always does."""
        whole = self._stored() == self.spec.filter_tiles * self.tile.filters
        return None if whole else self._channel(j) < self._stored()

    def _stored(self) -> int:
        """Filters that the result has place for."""
        return up(self.conv.filters, layout_block(self.conv.out_layout))

    def _store_quad(self, i: int, j: int, pixel: Expr) -> None:
        self._finish(self.sums.quad(i * self.tile.thread_filters + j), j, pixel)

    def _finish(self, total: Expr, j: int, pixel: Expr) -> None:
        """The ending of four filters from `_channel(j)` on."""
        if self.spec.pairs:
            total = self._joined(total, j)
        image, within = T.truncdiv(pixel, self.conv.pixels), T.truncmod(pixel, self.conv.pixels)
        self.finish.store(total, image, within, self._channel(j))

    def _joined(self, pairs: Expr, j: int) -> Expr:
        """Four sums of pairs, and their bias, added in float32 and rounded once."""
        start = self.finish.start(self._channel(j), (0, 0), ()).astype(f"float32x{WORDS}")
        return hold((self._summed(pairs) + start).astype(f"float16x{WORDS}"), WORDS, "float16")

    def _summed(self, pairs: Expr) -> Expr:
        """The two of each of four pairs, added in float32."""
        wide, several = f"float32x{WORDS}", 2 * WORDS
        halves = hold(T.reinterpret(f"float16x{several}", hold(pairs, WORDS, "int32")), several, "float16")
        even, odd = (T.Shuffle([halves], list(range(at, several, 2))).astype(wide) for at in (0, 1))
        return even + odd


def held(value: Expr) -> Expr:
    return hold(value, 1, "int32")
