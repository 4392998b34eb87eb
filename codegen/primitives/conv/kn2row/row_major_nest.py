"""The loops of row-major kn2row; see `row_major`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ....tir import Registers, T, load, prefetch, prim_func, splat, store, when
from ....vector.epilogue import Vector, apply
from ....vector.shuffles import hold
from ...specs import ConvSpec
from ..ending import pointers, split_buffers
from ..tile import LINE, kernel_rows
from .row_major_plan import Moves, Plan, Tiles, row_tiles

Expr = Any
Buffer = Any


def build(spec: ConvSpec, plan: Plan) -> Any:
    """The PrimFunc."""

    def body(*args: Any) -> None:
        *inputs, output, workspace, begin, end = args
        nest = _Nest(spec, plan, tuple(inputs), output, workspace)
        with T.serial(begin, end) as task:
            nest.task(task)

    return prim_func(pointers(spec), body)


@dataclass(frozen=True)
class _Place:
    """Where a pass works: a row of the strip and the kernel rows inside the image there; all expressions."""

    kh: Expr
    local: Expr
    row: Expr
    low: Expr
    high: Expr


@dataclass(frozen=True)
class _Tile:
    """One register tile of a run, from output column `column` (an expression) on."""

    place: _Place
    filters: int
    run: Tiles
    column: Expr


class _Nest:
    """Emits one task: a strip of rows of one group of filters."""

    def __init__(
        self, spec: ConvSpec, plan: Plan, inputs: tuple[Buffer, ...], output: Buffer, workspace: Buffer
    ) -> None:
        self.data, self.extras, constants = split_buffers(spec, inputs)
        self.weights, self.bias = constants[0], constants[1] if spec.bias else None
        self.spec, self.plan, self.output = spec, plan, output
        self.sums = workspace if plan.aside else output
        self.columns = -(-spec.out_width // plan.lanes) * plan.lanes

    def task(self, task: Expr) -> None:
        """The last group of filters may be smaller."""
        size, groups = self.plan.filters, -(-self.spec.filters // self.plan.filters)
        strips = -(-self.spec.out_height // self.plan.rows)
        self.image, group = task // (groups * strips), task // strips % groups
        self.first, self.first_row = group * size, task % strips * self.plan.rows
        rest = self.spec.filters % size
        if not rest or groups == 1:
            self._strip(size)
            return
        with when(group < groups - 1):
            self._strip(size)
        with when(group == groups - 1):
            self._strip(rest)

    def _strip(self, filters: int) -> None:
        """Every kernel row on every row of the strip."""
        count = T.min(self.plan.rows, self.spec.out_height - self.first_row)
        with T.serial(0, self.spec.kernel[0]) as kh, T.serial(0, count) as local:
            low, high = kernel_rows(self.spec, self.first_row + local)
            self._row(_Place(kh, local, self.first_row + local, low, high), filters)

    def _row(self, place: _Place, filters: int) -> None:
        """A row that no tap reaches is written where the others have their first kernel row."""
        tiles = row_tiles(self.spec, self.plan)
        with when((place.kh >= place.low) & (place.kh < place.high)):
            self._tiles(place, filters, tiles)
        if self._unreached():
            with when((place.high <= place.low) & (place.kh == 0)):
                blank = [Tiles(t.start, t.count, t.size, t.width, ()) for t in tiles]
                self._tiles(_Place(0, place.local, place.row, 0, 1), filters, blank)

    def _unreached(self) -> bool:
        """Whether padding alone is below the kernel at some row."""
        spec = self.spec
        tops = (row - spec.pads[0] for row in range(spec.out_height))
        taps = [kh * spec.dilations[0] for kh in range(spec.kernel[0])]
        return any(all(not 0 <= top + tap < spec.height for tap in taps) for top in tops)

    def _tiles(self, place: _Place, filters: int, runs: Sequence[Tiles]) -> None:
        for run in runs:
            with T.serial(0, run.count) as tile:
                column = run.start + tile * (run.size * self.plan.lanes)
                self._tile(_Tile(place, filters, run, column))

    def _tile(self, tile: _Tile) -> None:
        """One pass: sums are fetched, a kernel row of all channels is added, they are put back or ended."""
        acc = Registers(tile.filters * tile.run.size, self.plan.lanes)
        self._fetch(acc, tile)
        if any(move is not None for moves in tile.run.moves for move in moves):
            self._sum(acc, tile)
        self._put(acc, tile)

    def _alone(self, tile: _Tile) -> bool:
        """Whether one pass is all there is."""
        return self.spec.kernel[0] == 1 or not tile.run.moves

    def _fetch(self, acc: Any, tile: _Tile) -> None:
        """Sums start in the first kernel row inside the image and go on from where they lie in the others."""

        def start() -> None:
            for at in range(acc.count):
                acc[at] = self._start(at // tile.run.size)

        if self._alone(tile):
            start()
            return
        with T.If(tile.place.kh == tile.place.low):
            with T.Then():
                start()
            with T.Else():
                for at in range(acc.count):
                    acc[at] = self._load(*self._spot(tile, at))

    def _put(self, acc: Any, tile: _Tile) -> None:
        """The last kernel row inside the image ends the sums."""

        def finish() -> None:
            for at in range(acc.count):
                self._finish(acc[at], at // tile.run.size, *self._result(tile, at))

        if self._alone(tile):
            finish()
            return
        with T.If(tile.place.kh == tile.place.high - 1):
            with T.Then():
                finish()
            with T.Else():
                for at in range(acc.count):
                    self._store(acc[at], *self._spot(tile, at))

    def _sum(self, acc: Any, tile: _Tile) -> None:
        """acc[f][v] += image[c][tap beside v] * weights[c][tap][f] over channels and kernel columns."""
        spec, taps, kh = self.spec, self.spec.kernel[1], tile.place.kh
        row = tile.place.row - spec.pads[0] + kh * spec.dilations[0]
        panel = (self.first * spec.kernel[0] + kh * tile.filters) * (spec.channels * taps)
        with T.serial(0, spec.channels) as c:
            line = ((self.image * spec.channels + c) * spec.height + row) * spec.width
            self._ask(line + tile.column - spec.pads[1], tile.run)
            for kw, moves in enumerate(tile.run.moves):
                origin = line + tile.column + (kw * spec.dilations[1] - spec.pads[1])
                self._tap(acc, moves, origin, panel + (c * taps + kw) * tile.filters, tile.filters)

    def _ask(self, start: Expr, run: Tiles) -> None:
        """Prefetches what the tile reads some channels later: more streams than the processor follows."""
        if self.plan.ahead:
            first = start + self.plan.ahead * self.spec.height * self.spec.width
            for at in range(0, run.size * self.plan.lanes + LINE, LINE):
                prefetch(self.data, first + at, 1)

    def _tap(self, acc: Any, moves: Moves, origin: Expr, weight: Expr, filters: int) -> None:
        lanes = self.plan.lanes
        weights = [splat(self.weights[weight + f], lanes) for f in range(filters)]
        for v, move in enumerate(moves):
            if move is None:
                continue
            pixels = self._pixels(origin + v * lanes, move)
            for f in range(filters):
                at = f * len(moves) + v
                acc[at] = T.fma(pixels, weights[f], acc[at])

    def _pixels(self, index: Expr, move: int) -> Expr:
        """A vector of the image, zero where the tap is beside it."""
        lanes = self.plan.lanes
        loaded = hold(load(self.data, index + move, lanes), lanes)
        if not move:
            return loaded
        order = [i - move if 0 <= i - move < lanes else lanes for i in range(lanes)]
        return hold(T.Shuffle([loaded, splat(0.0, lanes)], order), lanes)

    def _start(self, filter_: int) -> Expr:
        lanes = self.plan.lanes
        return splat(0.0 if self.bias is None else self.bias[self.first + filter_], lanes)

    def _result(self, tile: _Tile, at: int) -> tuple[Expr, int]:
        """(first element of the result, elements) of sum number `at` of a tile."""
        filter_, v = divmod(at, tile.run.size)
        line = (self.image * self.spec.filters + self.first + filter_) * self.spec.out_height + tile.place.row
        width = tile.run.width if v == tile.run.size - 1 else self.plan.lanes
        return line * self.spec.out_width + tile.column + v * self.plan.lanes, width

    def _spot(self, tile: _Tile, at: int) -> tuple[Expr, int]:
        """Where a sum lies between kernel rows, and how many of its lanes: in `self.sums`."""
        if not self.plan.aside:
            return self._result(tile, at)
        filter_, v = divmod(at, tile.run.size)
        line = (tile.place.local * self.plan.filters + filter_) * self.columns
        return line + tile.column + v * self.plan.lanes, self.plan.lanes

    def _load(self, index: Expr, width: int) -> Expr:
        value, lanes = load(self.sums, index, width), self.plan.lanes
        if width in (1, lanes):
            return value if width == lanes else splat(value, lanes)
        return T.Shuffle([value, splat(0.0, lanes)], list(range(lanes)))

    def _store(self, value: Expr, index: Expr, width: int) -> None:
        store(self.sums, index, self._narrow(value, width), width)

    def _narrow(self, value: Expr, width: int) -> Expr:
        """The first lanes of a vector."""
        return value if width == self.plan.lanes else T.Shuffle([value], list(range(width)))

    def _finish(self, value: Expr, filter_: int, index: Expr, width: int) -> None:
        """The epilogue on sums of one filter, stored."""

        def operand(i: int) -> Expr:
            kind = self.spec.extras[i]
            if kind == "full":
                return load(self.extras[i], index, width)
            return splat(self.extras[i][0 if kind == "scalar" else self.first + filter_], width)

        value = apply(self.spec.epilogue, self._narrow(value, width), operand, Vector(width))
        store(self.output, index, value, width)
