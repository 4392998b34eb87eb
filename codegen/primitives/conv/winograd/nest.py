"""The code of a Winograd convolution: the phases of one task, in TIR.

The input transform writes one matrix (tiles x channels) for each position of a tile; the products with the
transformed weights add up channels; the output transform and the ending store what lies in the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from secateur.codegen.kernel import Kernel
from secateur.codegen.tir import Registers, T, fence, load, opaque, prefetch, prim_func, store, view, when
from secateur.codegen.vector.streams import add_from, put_all

from ....rounding import up
from ...specs import layout_block
from ..plan import KernelSpec
from ..rows_by_element import Operands, RowsByElement
from ..rows_of_bytes import RowsOfBytes
from .addresses import Addresses
from .arithmetic import Buffers, Read
from .asking import ask_rows, lines_asked
from .columns import down_columns
from .patch import Patch
from .places import Places, has, origin, sizes
from .plan import Blocking, Shape, blocks_together
from .rows_first import RowsFirst

Expr = Any

_NEAR = 16 << 10  # bytes ahead that the first-level cache is asked for

INPUT, PRODUCTS, OUTPUT = PHASES = ("input", "products", "output")
"""Of a task."""


def kernel_of(name: str, shape: Shape[Any], blocking: Blocking, phases: tuple[str, ...] = PHASES) -> Kernel:
    """Those `phases` of every task."""
    key = KernelSpec(name, shape, (blocking, phases), shape.lanes)
    build = partial(_build, shape, blocking, phases)
    return Kernel(name, key, build, shape.tasks(blocking), shape.workspace(blocking))


def _build(shape: Shape[Any], blocking: Blocking, phases: tuple[str, ...]) -> Any:
    pointers = shape.arithmetic.pointers(shape.spec)
    names = [p if isinstance(p, str) else p[0] for p in pointers]

    def body(*args: Any) -> None:
        *given, begin, end = args
        nest = _Nest(shape, blocking, dict(zip([*names, "workspace"], given, strict=True)), phases)
        with T.serial(begin, end) as task:
            nest.task(task, begin)

    return prim_func(pointers, body)


class _Nest:
    """Emits one task: a block of tiles through all filters of a range.

    Where there is one block, the first task of a call transforms it for all.
    """

    def __init__(
        self, shape: Shape[Any], blocking: Blocking, buffers: Buffers, phases: tuple[str, ...]
    ) -> None:
        self.shape, self.blocking, self.spec, self.lanes = shape, blocking, shape.spec, shape.lanes
        self.arithmetic, self.buffers, self.phases = shape.arithmetic, buffers, phases
        given, sums = buffers["workspace"], self.arithmetic.sums
        self.workspace = view(given, sums) if sums == "float16" else given
        self.inputs = view(self.workspace, self.arithmetic.products.data)
        self.sums = self.workspace if sums == "float32" else view(self.workspace, sums)
        self.ending = self.arithmetic.ending(shape.spec, buffers)
        self.places = Places(shape)
        self.width, self.chunks = shape.width(blocking), shape.chunks(blocking)
        self.groups, self.result_lanes = blocking.filters // self.width, self.arithmetic.result_lanes
        self.together = shape.together(blocking)
        self.joined = self.together // self.width  # groups that are transformed together
        self.taken = self.arithmetic.parts * self.arithmetic.wide  # channels of one input transform
        blocks = self.arithmetic.chunked or self.arithmetic.streams
        self.run = self.taken if blocks else blocking.channels  # of a tile, side by side
        self.legs, streams = shape.legs(blocking), isinstance(self.arithmetic.products, RowsByElement)
        self.of_bytes = isinstance(self.arithmetic.products, RowsOfBytes)
        self.rows_first = streams and self.arithmetic.raw == "float16"
        self.begun = streams and (self.chunks == 1 or self.legs > 0)
        self.asking = self.of_bytes and blocking.ahead > 0

    def task(self, task: Expr, begin: Expr) -> None:
        """One of those from `begin` on."""
        blocking, blocks = self.blocking, self.shape.blocks(self.blocking)
        self.first, self.range = task % blocks * blocking.tiles, task // blocks
        self.count = T.min(blocking.tiles, self.shape.tiles - self.first)
        with self._several(self.chunks) as chunk:
            with when(task == begin if self.shape.kept(blocking) else True):
                self._inputs(chunk)
            if self.arithmetic.chunked:
                with self._positions() as (p, tiles), T.serial(0, self.groups) as g:
                    self._products(chunk, p, g, tiles)
        with T.serial(0, self.groups // self.joined) as several:
            if not self.arithmetic.chunked:
                with (
                    T.serial(0, self.joined) if self.joined > 1 else nullcontext(0) as g,
                    self._positions() as (p, tiles),
                ):
                    self._products(0, p, several * self.joined + g, tiles)
            self._outputs(several * self.joined)

    def _several(self, count: int) -> Any:
        """A loop over chunks of channels, or over blocks of one, where there can be more than one."""
        return T.serial(0, count) if self.arithmetic.chunked else nullcontext(0)

    # Input transform

    def _inputs(self, chunk: Expr) -> None:
        if INPUT in self.phases:
            count = -(-self.shape.multiplied // self.shape.chunks(self.blocking) // self.taken)
            self.input_steps = self.arithmetic.kept_input_steps(self.shape.extent)
            stride = self.shape.transformed_stride(self.blocking)
            self.line = opaque(self.shape.extent[1] * stride)
            if self.rows_first:
                self.rows = RowsFirst(self.shape, stride, self.input_steps)
            with T.serial(0, count) as number, T.serial(0, self.count) as t:
                self._transform_input(chunk * count + number, number, t)

    def _transform_input(self, channels: Expr, number: Expr, t: Expr) -> None:
        """V = B^T d B of one tile, of vectors number `channels` of all, `number` of the chunk's."""
        patch = self._patch(channels, t)
        if self.arithmetic.ahead:
            ask_rows(self.shape, patch, self.taken)
        place = self._transformed(number * self.taken, t)
        with T.If(patch.whole(self.shape.scattered)):
            with T.Then():
                self._transform(self.arithmetic.inner(patch), channels, place, patch)
            with T.Else():
                self._transform(self.arithmetic.border(patch, self.workspace), channels, place)

    def _patch(self, vector: Expr, t: Expr) -> Patch:
        """What a tile reads for vectors number `vector`... of all phases' channels."""
        spec, shape, (down, across) = self.spec, self.shape, self.spec.strides
        image, *place = self.places.of(self.first + t)
        top, left = origin(self.shape, *place)
        top, left = top * down - spec.pads[0], left * across - spec.pads[1]
        if shape.scattered:
            each = up(spec.channels, layout_block(spec.in_layout))
            channel = image * each + vector * (self.taken // shape.phases)
        else:
            each = shape.channels // shape.phases
            phase, of_phase = (vector // (each // self.taken), vector % (each // self.taken))
            if shape.phases == 1:
                phase, of_phase = 0, vector
            top, left = top + phase // across, left + phase % across
            channel = image * each + of_phase * self.taken
        end = (image + 1) * spec.channels
        return Patch(spec, shape.extent, self.buffers["data"], channel, top, left, end)

    def _transformed(self, channel: Expr, tile: Expr) -> Expr:
        """Where a channel of the chunk's transformed inputs lies in the first position's matrix."""
        number, rest = channel // self.run, channel % self.run
        return self.shape.transformed_start + (number * self.blocking.tiles + tile) * self.run + rest

    def _transform(self, read: Read, channels: Expr, place: Expr, patch: Patch | None = None) -> None:
        """Element (i, j) goes to the matrix of that position; `patch` is what is not read from a copy."""
        arithmetic = self.arithmetic
        if self.rows_first:
            row = self.rows.inner(patch, read) if patch else self.rows.border(self.inputs)
            self.rows.inputs(row, (self.inputs, place))
            return
        parts, wide = arithmetic.parts, arithmetic.wide
        if not arithmetic.by_part:
            self._transform_parts([partial(read, part) for part in range(parts)], channels * parts, place)
            return
        with T.serial(0, parts) as part:
            self._transform_parts([partial(read, part)], channels * parts + part, place + part * wide)

    def _transform_parts(self, reads: Sequence[Any], vector: Expr, place: Expr) -> None:
        """Vectors `vector`... of channels, as one."""
        high, arithmetic = self.shape.extent[0], self.arithmetic
        wide, raw = arithmetic.wide, arithmetic.raw
        halves = [down_columns(one, self.input_steps, self.shape.extent, (high, wide, raw)) for one in reads]
        stride = self.shape.transformed_stride(self.blocking)
        first = place
        for i in range(high):
            rows = [self._row(half, i, vector + part) for part, half in enumerate(halves)]
            first = opaque(first + self.line if i else first)
            for j, parts in enumerate(zip(*rows, strict=True)):
                store(self.inputs, first + j * stride, arithmetic.packed(parts), len(parts) * wide)

    def _row(self, half: Any, i: int, vector: Expr) -> Any:
        """Row `i` of V."""
        channels, broad = self.shape.channels, self.shape.extent[1]
        row = self.input_steps([half[i * broad + j] for j in range(broad)])
        at = i * broad * channels + vector * self.arithmetic.wide
        return self.arithmetic.rounded(row, self.buffers, at, channels)

    # Products

    @contextmanager
    def _positions(self) -> Iterator[tuple[Expr, tuple[Expr, Expr]]]:
        """A loop over positions, with the first tile of the block that needs each, and how many do."""
        high, broad = self.shape.extent
        if not self.places.lower:
            with T.serial(0, high * broad) as p:
                yield p, (0, self.count)
            return
        with T.serial(0, high) as i, T.serial(0, broad) as j:
            yield i * broad + j, self.places.needing((i, j), self.first, self.count)

    def _products(self, chunk: Expr, p: Expr, g: Expr, needing: tuple[Expr, Expr]) -> None:
        rows, rest = self.blocking.rows, int(self.shape.rest(self.blocking.rows))
        first, tiles = needing
        parts, left = T.truncdiv(tiles + (rows - 1 - rest), rows), T.truncmod(tiles, rows)
        some = (left > 0) & (left <= rest)
        if self.places.lower:
            made = parts * rows + T.Select(some, rest, 0) if rest else parts * rows
            first = opaque(T.min(first, self.blocking.tiles - made))
        self._go_on(rows)
        if self.of_bytes:
            inputs, sums = (self.inputs, self._source(p, first)), (self.sums, self._sums(p, g, first))
            self.addresses = Addresses(inputs, sums, self.arithmetic.sums)
        if self.asking:
            with when(parts > 0):
                self._register_tile(chunk, p, g, (0, first), rows, True)
        with T.serial(int(self.asking), parts) as part:
            self._register_tile(chunk, p, g, (part, first + part * rows), rows, False)
        if rest:
            with when(some):
                self._go_on(rest)
                self._register_tile(chunk, p, g, (parts, first + parts * rows), rest, parts == 0)

    def _go_on(self, rows: int) -> None:
        """From where the last load of a block begins to the next block, for register tiles that follow."""
        products = self.arithmetic.products
        if isinstance(products, RowsByElement | RowsOfBytes):
            self.on = products.onward(rows, self.blocking.tiles * self.run)

    def _register_tile(
        self, chunk: Expr, p: Expr, g: Expr, at: tuple[Expr, Expr], rows: int, asks: Expr
    ) -> None:
        """At position `p`: some tiles by the chunk's channels, times those by one group of filters.

        `at` is the number of the register tile and that of its first tile; `asks` is as of `_stream`.
        """
        blocking, arithmetic, (part, first) = self.blocking, self.arithmetic, at
        acc = arithmetic.products.registers(rows * blocking.vectors)
        panel = self._panel(chunk, p, g)
        sums = 0 if self.of_bytes else opaque(self._sums(p, g, first))
        if not self.begun:
            self._begin(acc, chunk, sums, panel)
        opened = arithmetic.products.opened(acc, blocking.vectors)
        source = self._source(p, first)
        if self.of_bytes:
            source = self.addresses.source(part, blocking.rows * self.run)
        if isinstance(arithmetic.products, RowsByElement | RowsOfBytes):
            weight = panel * self.shape.panel_channels(blocking) * self.width
            if self.legs:
                self._legs(opened, (source, weight), part, range(rows), (chunk, sums))
                return
            self._stream(arithmetic.products, opened, (source, weight), (part, asks), range(rows))
        else:
            self._blocks(opened, source, panel)
        acc = arithmetic.products.closed(opened, blocking.vectors)
        self._end(acc, panel, sums, rows)

    def _end(self, acc: Any, panel: Expr, sums: Expr, rows: int) -> None:
        """Stores a register tile's sums."""
        vectors, lanes = self.blocking.vectors, self.arithmetic.ended_lanes(self.blocking.vectors)
        for number, value in self.arithmetic.ended(acc, vectors, self.buffers, panel * self.width):
            at = number // vectors * self.together + number % vectors * self.lanes
            if self.of_bytes:
                self.addresses.put(at, value, lanes)
            else:
                store(self.sums, sums + at, value, lanes)
        if self.of_bytes:
            self.addresses.move(rows * self.together)

    def _legs(
        self, acc: Any, places: tuple[Expr, Expr], part: Expr, rows: range, before: tuple[Expr, Expr]
    ) -> None:
        """Sums of some channels at a time, which are added to those of the channels before."""
        products, (chunk, sums) = self.arithmetic.products, before
        assert isinstance(products, RowsByElement)
        operands = self._operands(products, places)
        with T.serial(0, self.legs) if self.legs > 1 else nullcontext(0) as leg:
            self._row_of_blocks(products, acc, operands, rows, part)
            if self.chunks * self.legs > 1:
                with when(chunk + leg > 0):
                    add_from((self.sums, sums), acc)
            put_all((self.sums, sums), acc)

    def _operands(self, products: RowsByElement | RowsOfBytes, places: tuple[Expr, Expr]) -> Any:
        (source, weight), weights = places, self.buffers["weights"]
        inputs = None if self.of_bytes else self.inputs
        return products.operands((inputs, source), (weights, weight), self.blocking.vectors)

    def _stream(
        self,
        products: RowsByElement | RowsOfBytes,
        acc: Any,
        places: tuple[Expr, Expr],
        of: tuple[Expr, Expr],
        rows: range,
    ) -> None:
        """Sums of all blocks of channels, of operands that are streams from these places on.

        `of` is the number of the register tile, and whether it asks for weights, of bytes: the first tiles of
        a panel alone do, as the others find them near.
        """
        (part, asks), operands = of, self._operands(products, places)
        ask = (self.blocking.ahead * products.size, 1) if self.asking else None
        if ask is None or isinstance(asks, bool):
            self._row_of_blocks(products, acc, operands, rows, part, ask if asks is True else None)
            return
        with T.If(asks):
            with T.Then():
                self._row_of_blocks(products, acc, operands, rows, part, ask)
            with T.Else():
                self._row_of_blocks(products, acc, operands, rows, part)

    def _row_of_blocks(
        self,
        products: RowsByElement | RowsOfBytes,
        acc: Any,
        operands: Any,
        rows: range,
        part: Expr,
        ask: tuple[int, int] | None = None,
    ) -> None:
        """Bytes `ask` with every load of weights, floats for a share of a pass."""
        blocking = self.blocking
        together, peeled = blocks_together(self.shape, blocking), self.begun or products.peeled

        def several(first: bool) -> None:
            """A pass, of floats with what begins sums."""
            if not isinstance(operands, Operands):
                for _ in range(together):
                    operands.row(acc, self.on, [(rows, rows)], ask=ask)
                return
            for beyond in lines_asked(self.shape, blocking, part, together * self.run):
                operands.weights.ask(beyond, 1 if blocking.ahead * products.size <= _NEAR else 2)
            for block in range(together):
                channels = self.run if block < together - 1 else last
                operands.row(acc, self.on, [(rows, rows)], first=first and block == 0, channels=channels)

        last = self.shape.panel_channels(blocking) - (blocking.channels - self.run)
        if peeled:
            several(True)
        passes = blocking.channels // self.run // together // products.blocks
        with T.serial(int(peeled), passes // max(1, self.legs)):
            several(False)

    def _blocks(self, acc: Any, source: Expr, panel: Expr) -> None:
        """The same, block by block."""
        blocking, arithmetic, step = self.blocking, self.arithmetic, self.arithmetic.products.step
        unroll, together = arithmetic.unroll, blocks_together(self.shape, blocking)
        at_once = min(arithmetic.products.at_once, unroll)
        run = self.run if arithmetic.chunked else self.shape.multiplied

        def steps(several: Expr, outer: Expr) -> None:
            for block in (several * together + inner for inner in range(together)):
                for inner in range(0, unroll, at_once):
                    number = outer * unroll + inner
                    panels = panel * (blocking.channels // step) + block * (self.run // step) + number
                    weight = panels * (blocking.vectors * arithmetic.products.width)
                    element = source + block * (blocking.tiles * self.run) + number * step
                    self._steps(acc, element, weight, at_once)

        if arithmetic.peeled:
            steps(0, 0)
        with (
            self._several(blocking.channels // self.run // together) as several,
            T.serial(int(arithmetic.peeled), run // (step * unroll)) as outer,
        ):
            steps(several, outer)

    def _sums(self, p: Expr, g: Expr, tile: Expr) -> Expr:
        """Where a position's products of a group of filters lie from a tile on."""
        start = self.shape.products_start(self.blocking) + p * self.shape.product_stride(self.blocking)
        if self.arithmetic.chunked:
            return start + (g * self.blocking.tiles + tile) * self.width
        return start + tile * self.together + (g % self.joined * self.width if self.joined > 1 else 0)

    def _source(self, p: Expr, tile: Expr) -> Expr:
        """Where a position's transformed inputs lie from a tile on."""
        return self._transformed(0, tile) + p * self.shape.transformed_stride(self.blocking)

    def _panel(self, chunk: Expr, p: Expr, g: Expr) -> Expr:
        """The number of a panel of weights: a group's at one position, for a chunk of channels."""
        if self.arithmetic.chunked:
            return ((self.range * self.chunks + chunk) * self.shape.positions + p) * self.groups + g
        return (self.range * self.groups + g) * self.shape.positions + p

    def _begin(self, acc: Any, chunk: Expr, sums: Expr, panel: Expr) -> None:
        """Sums start anew, or with those of the chunks before."""
        begin = partial(self.arithmetic.begin, acc, self.blocking.vectors, self.buffers, panel * self.width)
        if self.chunks == 1:
            begin()
            return
        with T.If(chunk == 0):
            with T.Then():
                begin()
            with T.Else():
                for number in range(acc.count):
                    acc[number] = load(self.workspace, sums + number * self.lanes, self.lanes)

    def _steps(self, acc: Any, source: Expr, weight: Expr, count: int) -> None:
        """acc[r][v] += the inputs of row r . weights[v]; asks for weights ahead."""
        products, vectors, weights = self.arithmetic.products, self.blocking.vectors, self.buffers["weights"]
        if self.blocking.ahead:
            for at in range(0, count * vectors * products.width, self.arithmetic.asked):
                prefetch(weights, weight + self.blocking.ahead + at, 1)
        elements = {r: source + r * self.run for r in range(self.blocking.rows)}
        products.multiply(acc, (self.inputs, elements), (weights, weight), vectors, count)
        fence(self.workspace, weights)

    # Output transform

    def _outputs(self, g: Expr) -> None:
        """All tiles of one group of filters, or of several that are joined from it on."""
        if OUTPUT in self.phases:
            count, vectors = self.count, self.together // self.result_lanes
            self.output_steps = self.arithmetic.kept_output_steps(self.shape.extent)
            self.row_steps = self.arithmetic.row_steps(self.output_steps)
            if self.rows_first:
                stride = self.shape.product_stride(self.blocking)
                self.rows = RowsFirst(self.shape, stride, self.output_steps)
            with T.serial(0, count) as t, T.serial(0, vectors) as v, when(self._has_filters(g, v)):
                self._transform_output(g, t, v)

    def _channel(self, g: Expr, v: Expr) -> Expr:
        """The first filter of a vector."""
        return (self.range * self.groups + g) * self.width + v * self.result_lanes

    def _has_filters(self, g: Expr, v: Expr) -> Expr:
        """Whether a vector has any whose results are stored."""
        shape, blocking = self.shape, self.blocking
        every = shape.ranges(blocking) * blocking.filters
        return True if shape.stored >= every else self._channel(g, v) < shape.stored

    def _transform_output(self, g: Expr, t: Expr, v: Expr) -> None:
        """A^T F A of one tile and vector of filters."""
        tall, broad, lanes = self.shape.tile[0], self.shape.extent[1], self.result_lanes
        start, stride = self._sums(0, g, t) + v * lanes, self.shape.product_stride(self.blocking)
        channel, early = self._channel(g, v), self.arithmetic.biased(self.shape.extent)
        bias = self.ending.start(channel, (0, 0), ())
        left = bias if self.spec.bias and early is None else None
        if self.rows_first:
            lines = self.rows.products((self.sums, start), self.shape.tile[1])
            self._store_tile(lines, self.first + t, channel, left)
            return
        rows = [opaque(start + i * broad * stride) for i in range(self.shape.extent[0])]

        def product(i: int, j: int) -> Expr:
            value = load(self.sums, rows[i] + j * stride, lanes)
            return value + bias if (i, j) == early else value

        in_turn = tall < self.shape.extent[0] and isinstance(self.arithmetic.products, RowsByElement)
        given = tall, lanes, self.arithmetic.sums
        half = down_columns(product, self.output_steps, self.shape.extent, given, in_turn)
        lines = [[half[i * broad + j] for j in range(broad)] for i in range(tall)]
        self._store_tile(lines, self.first + t, channel, left)

    def _store_tile(self, half: Any, tile: Expr, channel: Expr, bias: Expr | None) -> None:
        """What lies in the image, a row or a column at a time, which takes fewer registers than a whole tile.

        `bias` is what there still is to add.
        """
        width, tall = self.spec.out_width, self.shape.tile[0]
        image, *place = self.places.of(tile)
        top, left = map(opaque, origin(self.shape, *place))
        pixels = [(top + i) * width + left for i in range(tall)]
        for pixel in pixels if self.arithmetic.ahead else ():
            self.ending.ask(image, pixel + self.arithmetic.ahead, channel)
        rows, columns = has(self.shape, top, left)

        axes = (1, 0) if self.rows_first else (0, 1)
        inside = [[*some[:-1], True] for some in (rows, columns)]

        def stored(*size: int) -> None:
            for a in range(size[axes[0]]):
                with when(inside[axes[0]][a]):
                    for b, value in enumerate(self._results(half, a)[: size[axes[1]]]):
                        i, j = (b, a) if self.rows_first else (a, b)
                        with when(inside[axes[1]][b]):
                            if bias is not None:
                                value = self.arithmetic.finished(value, bias, i, j)
                            self.ending.store(value, image, pixels[i] + j, channel)

        for high, broad in sizes(self.shape, rows, columns):
            stored(high, broad)

    def _results(self, half: Any, number: int) -> list[Expr]:
        """A row of A^T F A, or where rows are transformed a column, each in a register."""
        count = self.shape.tile[0 if self.rows_first else 1]
        line = [row[number] for row in half] if self.rows_first else half[number]
        result = Registers(count, self.result_lanes, self.arithmetic.results)
        for k, value in enumerate((self.output_steps if self.rows_first else self.row_steps)(line)):
            result[k] = value if self.rows_first else self.arithmetic.settled(value, number, k)
        return [result[k] for k in range(count)]
