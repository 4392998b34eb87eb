"""The code of a convolution quantized in the Winograd domain: the phases of one task, in TIR.

What each phase computes is defined in `ir/reference/winograd.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from secateur.codegen.tir import Registers, T, fence, load, prefetch, splat, store, view, when
from secateur.codegen.vector.dot import Dot
from secateur.codegen.vector.fixed_point import FixedPoint
from secateur.codegen.vector.requantize import BLOCK, Requantize
from secateur.codegen.vector.shuffles import hold

from ...specs import up
from .int8 import Blocking, Shape
from .steps import input_steps, output_steps

Expr = Any
Buffer = Any
Read = Callable[[int, int, int], Expr]  # vector, row and column of the tile -> int16

_UNROLL = 4  # quads of channels of one pass through the inner loop
_AHEAD = 8  # pixels between the tile in work and those asked for, in either image


class Nest:
    """Emits one task: a block of tiles through all filters of a range."""

    def __init__(
        self,
        shape: Shape,
        blocking: Blocking,
        dot: Dot,
        fixed: FixedPoint,
        ending: Requantize,
        fused: bool,
        buffers: dict[str, Buffer],
        phases: tuple[str, ...],
    ) -> None:
        self.shape, self.blocking, self.spec = shape, blocking, shape.spec
        self.dot, self.fixed, self.ending = dot, fixed, ending
        self.buffers = buffers
        self.fused = fused
        self.phases = phases
        self.bytes = view(buffers["workspace"], "uint8")
        self.width = blocking.vectors * dot.lanes
        self.groups = blocking.filters // self.width

    def task(self, task: Expr) -> None:
        shape, blocking = self.shape, self.blocking
        blocks = -(-shape.tiles // blocking.tiles)
        self.first, self.range = task % blocks * blocking.tiles, task // blocks
        self.count = T.min(blocking.tiles, shape.tiles - self.first)
        parts = (self.count + blocking.rows - 1) // blocking.rows
        if "input" in self.phases:
            with T.serial(0, shape.channels // (2 * shape.wide)) as chunk, T.serial(0, self.count) as t:
                self._transform_input(chunk, t)
        with T.serial(0, self.groups) as g:
            group = self.range * self.groups + g
            with T.serial(0, shape.positions) as p, T.serial(0, parts) as part:
                self._register_tile(p, group, part * blocking.rows)
            if "output" in self.phases:
                self._transform_outputs(group)

    def _has_filters(self, g: Expr, v: Expr) -> Expr:
        """Whether a vector has any: a result in smaller blocks than the weights may have none for it."""
        end = up(self.spec.filters, self.spec.block)
        return True if end == self.shape.filters else g * self.width + v * self.dot.lanes < end

    # Input transform

    def _transform_input(self, chunk: Expr, t: Expr) -> None:
        """V = B^T d B of two vectors of channels of one tile, quantized, to the transformed inputs."""
        spec = self.spec
        image, row, column = self._place(self.first + t)
        top, left = row * spec.tile[0] - spec.pads[0], column * spec.tile[1] - spec.pads[1]
        (high, broad), first = self.shape.extent, image * self.shape.channels + chunk * (2 * self.shape.wide)
        self._ask_for_input(first, top, left + _AHEAD)
        inside = (top >= 0) & (left >= 0) & (top + high <= spec.height) & (left + broad <= spec.width)
        with T.If(inside):
            with T.Then():
                self._transform(chunk, t, lambda part, i, j: self._read(first, part, top + i, left + j))
            with T.Else():
                self._transform(chunk, t, self._checked(first, top, left))

    def _ask_for_input(self, first: Expr, top: Expr, left: Expr) -> None:
        """Prefetches a line of each row of a tile; hardware does not, as rows are short and far apart."""
        for channel in range(0, 2 * self.shape.wide, BLOCK):
            for i in range(self.shape.extent[0]):
                prefetch(self.buffers["data"], self._pixel(first + channel, top + i, left), 1)

    def _place(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        down, across = self.shape.grid
        image: Expr = 0 if self.spec.batch == 1 else tile // (down * across)
        inner = tile if self.spec.batch == 1 else tile % (down * across)
        return image, inner // across, inner % across

    def _read(self, first: Expr, part: int, row: Expr, column: Expr) -> Expr:
        """x - zero point of one pixel: vector `part` of int16 from channel `first` on."""
        spec, wide = self.spec, self.shape.wide
        channels = [first + part * wide + k for k in range(0, wide, BLOCK)]
        starts = [self._pixel(c, row, column) for c in channels]
        parts = [load(self.buffers["data"], start, min(wide, BLOCK)) for start in starts]
        joined = parts[0] if len(parts) == 1 else T.Shuffle(parts, list(range(wide)))
        value = joined.astype(f"int16x{wide}")
        return value - splat(spec.zero_point, wide, "int16") if spec.zero_point else value

    def _pixel(self, channel: Expr, row: Expr, column: Expr) -> Expr:
        plane = channel // BLOCK * self.spec.height
        return ((plane + row) * self.spec.width + column) * BLOCK + channel % BLOCK

    def _checked(self, first: Expr, top: Expr, left: Expr) -> Read:
        """Reads of a tile that leaves the image: a pixel outside is read inside and masked."""
        spec, wide = self.spec, self.shape.wide
        rows = Registers(self.shape.extent[0], 1, "int16")
        for i in range(rows.count):
            within = (top + i >= 0) & (top + i < spec.height)
            rows[i] = T.Select(within, splat(-1, 1, "int16"), splat(0, 1, "int16"))

        def read(part: int, i: int, j: int) -> Expr:
            row = T.max(0, T.min(spec.height - 1, top + i))
            column = T.max(0, T.min(spec.width - 1, left + j))
            within = (left + j >= 0) & (left + j < spec.width)
            mask = T.Select(within, rows[i], splat(0, 1, "int16"))
            return self._read(first, part, row, column) & T.Broadcast(mask, wide)

        return read

    def _transform(self, chunk: Expr, t: Expr, read: Read) -> None:
        """Both vectors of a chunk, whose bytes are packed into one."""
        high, broad = self.shape.extent
        halves = [self._columns(partial(read, part)) for part in range(2)]
        place = t * self.shape.channels + chunk * (2 * self.shape.wide)
        for i in range(high):
            rows = [self._quantized(half, i, chunk * 2 + part) for part, half in enumerate(halves)]
            for j, (first, second) in enumerate(zip(*rows, strict=True)):
                at = place + (i * broad + j) * self.shape.transformed_stride(self.blocking)
                store(self.bytes, at, self.fixed.packed(first, second), 2 * self.shape.wide)

    def _columns(self, read: Callable[[int, int], Expr]) -> Any:
        """B^T d of one vector of channels, down every column."""
        (high, broad), wide = self.shape.extent, self.shape.wide
        half = Registers(high * broad, wide, "int16")
        for j in range(broad):
            column = Registers(high, wide, "int16")
            for i in range(high):
                column[i] = read(i, j)
            for i, value in enumerate(input_steps([column[i] for i in range(high)], self.fixed)):
                half[i * broad + j] = value
        return half

    def _quantized(self, half: Any, i: int, vector: Expr) -> list[Expr]:
        """Row `i` of V = B^T d B times the factors of channels number `vector`."""
        shape, broad = self.shape, self.shape.extent[1]
        row = input_steps([half[i * broad + j] for j in range(broad)], self.fixed)
        at = i * broad * shape.channels + vector * shape.wide
        factors = [load(self.buffers["factors"], at + j * shape.channels, shape.wide) for j in range(broad)]
        return [
            hold(self.fixed.product(v, f), shape.wide, "int16") for v, f in zip(row, factors, strict=True)
        ]

    # Products

    def _register_tile(self, p: Expr, g: Expr, first: Expr) -> None:
        """At position `p`: some tiles by all channels, times those by one group of filters; dequantized."""
        shape, blocking, lanes = self.shape, self.blocking, self.dot.lanes
        rows, vectors = blocking.rows, blocking.vectors
        acc = Registers(rows * vectors, lanes, "int32")
        at = (g * shape.positions + p) * self.width
        for v in range(vectors):
            start = Registers(1, lanes, "int32")
            start[0] = load(self.buffers["start"], at + v * lanes, lanes)
            for r in range(rows):
                acc[r * vectors + v] = start[0]
        source = p * shape.transformed_stride(blocking) + first * shape.channels
        panel = at * shape.channels
        with T.serial(0, shape.channels // (4 * _UNROLL)) as outer:
            for inner in range(_UNROLL):
                quad = outer * _UNROLL + inner
                self._step(acc, source + quad * 4, panel + quad * (4 * self.width))
        for v in range(vectors):
            scale = Registers(1, lanes)
            scale[0] = load(self.buffers["scales"], at + v * lanes, lanes)
            for r in range(rows):
                real = acc[r * vectors + v].astype(f"float32x{lanes}") * scale[0]
                store(self.buffers["workspace"], self._product(first + r, v, p), real, lanes)

    def _product(self, t: Expr, v: Expr, p: Expr) -> Expr:
        """Where the real product of a tile, a vector of the group and a position lies, in floats."""
        shape, blocking = self.shape, self.blocking
        place = p * shape.product_stride(blocking) + (t * blocking.vectors + v) * self.dot.lanes
        return shape.products_start(blocking) // 4 + place

    def _step(self, acc: Any, source: Expr, weight: Expr) -> None:
        """Adds one quad of channels; asks for weights ahead where they stream from far."""
        lanes, vectors = self.dot.lanes, self.blocking.vectors
        if self.blocking.ahead:
            for v in range(vectors):
                prefetch(self.buffers["weights"], weight + self.blocking.ahead + v * 4 * lanes, 1)
        weights = [self.dot.weights(self.buffers["weights"], weight + v * 4 * lanes) for v in range(vectors)]
        for r in range(self.blocking.rows):
            element = self.dot.element(self.bytes, source + r * self.shape.channels)
            for v in range(vectors):
                self.dot.accumulate(acc, r * vectors + v, element, weights[v])
        fence(self.buffers["workspace"], self.buffers["weights"])

    # Output transform

    def _transform_outputs(self, g: Expr) -> None:
        """All tiles of one group of filters."""
        vectors = self.blocking.vectors
        with T.serial(0, self.count) as t, T.serial(0, vectors) as v, when(self._has_filters(g, v)):
            self._transform_output(g, t, v)

    def _transform_output(self, g: Expr, t: Expr, v: Expr) -> None:
        """A^T F A of one tile and vector of filters, bias, residual; stored where it lies in the image."""
        spec, lanes = self.spec, self.dot.lanes
        (tall, wide), (high, broad) = spec.tile, self.shape.extent
        half = Registers(tall * broad, lanes)
        for j in range(broad):
            column = Registers(high, lanes)
            for i in range(high):
                column[i] = load(self.buffers["workspace"], self._product(t, v, i * broad + j), lanes)
            for i, value in enumerate(output_steps([column[i] for i in range(high)], lanes, self.fused)):
                half[i * broad + j] = value
        result = Registers(tall * wide, lanes)
        for i in range(tall):
            row = [half[i * broad + j] for j in range(broad)]
            for j, value in enumerate(output_steps(row, lanes, self.fused)):
                result[i * wide + j] = value
        self._store_tile(result, self.first + t, (g * self.blocking.vectors + v) * lanes)

    def _store_tile(self, result: Any, tile: Expr, channel: Expr) -> None:
        spec, lanes = self.spec, self.dot.lanes
        (tall, wide) = spec.tile
        image, row, column = self._place(tile)
        for i in range(tall):
            pixel = (row * tall + i) * spec.out_width + column * wide + _AHEAD
            prefetch(
                self.buffers["output"], self._stored_at(image, pixel, channel, spec.block), 1, write=True
            )
        bias = Registers(1, lanes)
        bias[0] = load(self.buffers["bias"], channel, lanes)
        whole_rows, whole_columns = spec.out_height % tall == 0, spec.out_width % wide == 0
        for i in range(tall):
            with when(True if whole_rows else row * tall + i < spec.out_height):
                for j in range(wide):
                    with when(True if whole_columns else column * wide + j < spec.out_width):
                        pixel = (row * tall + i) * spec.out_width + column * wide + j
                        residual, at = (
                            self._stored_at(image, pixel, channel, b) for b in (BLOCK, spec.block)
                        )
                        stored = self.ending.of_steps(result[i * wide + j] + bias[0], residual, channel)
                        store(self.buffers["output"], at, stored, lanes)

    def _stored_at(self, image: Expr, pixel: Expr, channel: Expr, block: int) -> Expr:
        """The element of a result in blocks of `block` channels."""
        plane = image * (up(self.spec.filters, block) // block) + channel // block
        return (plane * (self.spec.out_height * self.spec.out_width) + pixel) * block + channel % block
