"""The kernel of `winograd_fused`, by dot products of four bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....tir import T, load, splat, store, view, when
from ....vector.shuffles import hold
from ..block import WORDS, Words, barrier, thread
from ..tile import WARP
from .fused_tile import STAGES, FusedTile
from .layer import BLOCK, Layer
from .output import OutputTransform, lanes_of
from .pairs import held, parts
from .tile_order import TileOrder
from .transform import InputTransform, joined

Array = NDArray[Any]
Expr = Any

_HALVES = 2  # of a word: bytes 0 and 2, then 1 and 3
_ORDER = [0, 2, 1, 3]  # the channels of a word as they lie in shared memory


@dataclass(frozen=True)
class FusedSpec:
    """What determines the code."""

    layer: Layer
    tile: FusedTile

    @property
    def steps(self) -> int:
        return self.layer.blocks // self.tile.step

    @property
    def filter_tiles(self) -> int:
        return self.layer.filters // self.tile.filters


def split_weights(layer: Layer, tile: FusedTile, weights: Array) -> Array:
    """(position, filter, channel) to (position, filter tile, filter, block, word, 4 in `_ORDER`)."""
    padded = np.zeros((layer.positions, layer.filters, layer.channels), weights.dtype)
    padded[:, : weights.shape[1], : weights.shape[2]] = weights
    return padded.reshape(layer.positions, -1, tile.filters, layer.blocks, WORDS, 4)[..., _ORDER]


def pack(layer: Layer, tile: FusedTile, weights: Array) -> Array:
    """(position, filter, channel) to [filter tile][block][position][word][filter][4 in `_ORDER`]."""
    return np.ascontiguousarray(split_weights(layer, tile, weights).transpose(1, 3, 0, 4, 2, 5))


def ordered(factors: Array) -> Array:
    """(positions, channels) with the channels of each word in `_ORDER`."""
    return np.ascontiguousarray(factors.reshape(len(factors), -1, 4)[..., _ORDER]).reshape(factors.shape)


class Fused:
    """One block of threads: warps that multiply, and readers, which transform inputs and results.

    Its tiles are numbered as `TileOrder` has them.
    """

    def __init__(self, spec: FusedSpec, buffers: tuple[Any, ...]) -> None:
        self.spec, self.layer, self.tile = spec, spec.layer, spec.tile
        self.order = TileOrder(spec.layer)
        self.ragged = self.order.ragged(spec.tile.tiles)
        data, *residual, weights, self.factors, self.scales, bias, parameters, output, shared, block, _ = (
            buffers
        )
        self.data, self.weights = view(data, "int32"), view(weights, "int32")
        self.shared, self.halves, self.products = (view(shared, d) for d in ("int32", "int16", "float32"))
        self.output = OutputTransform(
            spec.layer, residual[0] if residual else None, (bias, parameters, output), self.order.place
        )
        self.thread = held(thread())
        self.filter_tile = held(T.truncmod(block, spec.filter_tiles))
        self.first_tile = held(T.truncdiv(block, spec.filter_tiles) * self.tile.tiles)
        self._divide()

    def _divide(self) -> None:
        """This warp's first position, and this lane's tiles and filters."""
        tile, lane = self.tile, T.truncmod(self.thread, WARP)
        across = tile.filters // tile.thread_filters
        self.position = held(T.truncdiv(self.thread, WARP) * tile.held)
        self.row = held(T.truncdiv(lane, across))
        self.column = held(T.truncmod(lane, across) * tile.thread_filters)

    def emit(self) -> None:
        """Both kinds of warps come to the same barriers."""
        with T.If(self.thread < self.tile.multipliers):
            with T.Then():
                self._multiply_all()
            with T.Else():
                self.reader = held(self.thread - self.tile.multipliers)
                self._read_all()

    def _rounds(self) -> range:
        """The first filters of each round of the output transform."""
        return range(0, self.tile.filters, self.tile.round)

    def _multiply_all(self) -> None:
        self.sums = Words(self.tile.held * self.tile.sums, "int32")
        for i in range(0, len(self.sums), WORDS):
            self.sums.put(i, splat(0, WORDS, "int32"))
        if self.ragged:
            self.counts = self._counts()
        barrier()
        with T.serial(0, self.spec.steps) as step:
            self._multiply(step, T.truncmod(step, STAGES) * self.tile.stage_words)
            barrier()
        for first in self._rounds():
            self._share(first)
            barrier()
            barrier()

    def _read_all(self) -> None:
        self._transform(0, 0)
        barrier()
        with T.serial(0, self.spec.steps) as step:
            with when(step + 1 < self.spec.steps):
                self._transform(step + 1, T.truncmod(step + 1, STAGES) * self.tile.stage_words)
            barrier()
        for first in self._rounds():
            barrier()
            self._store(first)
            barrier()

    def _shares(self, count: int, emit: Callable[[Expr], None]) -> None:
        """`emit` for each of `count` numbers, shared out among the readers."""
        readers = self.tile.readers
        with T.serial(0, -(-count // readers)) as turn:
            number = held(turn * readers + self.reader)
            with when(number < count):
                emit(number)

    # Which tiles are where ---------------------------------------------------------------------------

    def _counts(self) -> Words:
        """Of this warp's positions, the tiles of the block that need them, from the first place on."""
        found = Words(self.tile.held, "int32")
        for at in range(self.tile.held):
            start, end = self.order.range_at(held(self.position + at))
            first, after = T.max(start, self.first_tile), T.min(end, self.first_tile + self.tile.tiles)
            found[at] = after - first
        return found

    def _places(self, row: Expr) -> dict[int, Expr]:
        """Where the tile number `row` of the block lies at a position, by the first tile that needs this."""
        starts = {self.order.range_of(position)[0] for position in range(self.layer.positions)}
        return {start: row if not start else self._place_from(start, row) for start in starts}

    def _place_from(self, start: int, row: Expr) -> Expr:
        """Of a tile that does not need the position it is any."""
        return held(T.max(0, row - T.max(0, start - self.first_tile)))

    def _wanted(self, at: int, tile: Any) -> AbstractContextManager[None]:
        """Where the warp's position number `at` is needed by so many tiles."""
        return when(tile < self.counts[at]) if self.ragged else nullcontext()

    # Inputs ------------------------------------------------------------------------------------------

    def _transform(self, step: Expr, stage: Expr) -> None:
        """Half words of a step's channels, tile by tile, into shared memory."""
        count = self.tile.tiles * self.tile.step * WORDS * _HALVES
        self._shares(count, lambda number: self._transform_half(number, step, stage))

    def _transform_half(self, number: Expr, step: Expr, stage: Expr) -> None:
        half, word = held(number & 1), held((number >> 1) & (WORDS - 1))
        row, block = held(T.truncmod(number >> 3, self.tile.tiles)), T.truncdiv(number >> 3, self.tile.tiles)
        block_of_step, own = held(block), held(self.first_tile + row)
        block = held(step * self.tile.step + block_of_step)
        places = {
            start: held((self._input_place(stage, block_of_step, word, place) << 1) + half)
            for start, place in self._places(row).items()
        }
        known = held(block * BLOCK + word * WORDS + half * 2)

        def put(position: int, pairs: list[Expr]) -> None:
            factors = Words(2, "int32")
            factors.fetch(0, self.factors, position * self.layer.channels + known, 2)
            value = joined(parts(held(pairs[0])), factors).astype("int16")
            start, end = self.order.range_of(position)
            place = places[start] + position * (self.tile.stage_words // self.layer.positions * 2)
            with when(T.And(own >= start, own < end)) if self.ragged else nullcontext():
                store(self.halves, place, value, 1)

        tile = held(T.min(own, self.layer.tiles - 1))
        transform = InputTransform(self.layer, self.data, self.order.place)
        transform.emit((tile, block, word), (held(half * 8),), put)

    def _input_place(self, stage: Expr, block: Expr, word: Expr, place: Expr) -> Expr:
        """The word of a tile's transformed input at the first position."""
        gap = self.tile.thread_pitch - self.tile.thread_tiles
        moved = place + T.truncdiv(place, self.tile.thread_tiles) * gap if gap else place
        return stage + word * self.tile.pitch + moved

    # Products ----------------------------------------------------------------------------------------

    def _multiply(self, step: Expr, stage: Expr) -> None:
        tile = self.tile
        panel = held((self.filter_tile * self.spec.steps + step) * self.layer.positions + self.position)
        inputs, filters = Words(tile.thread_pitch, "int32"), Words(tile.thread_filters, "int32")
        for at in range(tile.held):
            for word in range(WORDS):
                place = stage + ((self.position + at) * WORDS + word) * tile.pitch
                inputs.fetch(0, self.shared, place + self.row * tile.thread_pitch, tile.thread_pitch)
                place = ((panel + at) * WORDS + word) * tile.filters + self.column
                filters.fetch(0, self.weights, place, tile.thread_filters)
                for i in range(tile.thread_tiles):
                    with self._wanted(at, self.row * tile.thread_tiles + i):
                        self._add(at * tile.sums + i * tile.thread_filters, inputs[i], filters)

    def _add(self, first: int, value: Expr, filters: Words) -> None:
        for j in range(self.tile.thread_filters):
            self.sums[first + j] = T.call_llvm_pure_intrin(
                "int32", "llvm.nvvm.idp4a.s.s", value, filters[j], self.sums[first + j]
            )

    # Results -----------------------------------------------------------------------------------------

    def _share(self, first: int) -> None:
        """Products of a round's filters, in steps of the result, as (position, tile, filter)."""
        tile = self.tile
        with when(T.And(self.column >= first, self.column < first + tile.round)):
            for at in range(tile.held):
                for j in range(0, tile.thread_filters, WORDS):
                    self._share_quads(at, j, first)

    def _share_quads(self, at: int, j: int, first: int) -> None:
        tile, position = self.tile, self.position + at
        channel = self.filter_tile * tile.filters + self.column + j
        scale = hold(load(self.scales, position * self.layer.filters + channel, WORDS), WORDS)
        for i in range(tile.thread_tiles):
            total = self.sums.quad(at * tile.sums + i * tile.thread_filters + j)
            row = position * tile.tiles + self.row * tile.thread_tiles + i
            place = row * tile.round + self.column + (j - first)
            store(self.products, place, total.astype(f"float32x{WORDS}") * scale, WORDS)

    def _store(self, first: int) -> None:
        vectors = self.tile.round // lanes_of(self.layer)
        self._shares(self.tile.tiles * vectors, lambda number: self._store_vector(number, vectors, first))

    def _store_vector(self, number: Expr, vectors: int, first: int) -> None:
        lanes = lanes_of(self.layer)
        row, column = held(T.truncdiv(number, vectors)), held(T.truncmod(number, vectors) * lanes)
        tile = held(self.first_tile + row)
        channel = held(self.filter_tile * self.tile.filters + first + column)
        with when(T.And(tile < self.layer.tiles, channel < self.layer.stored)):
            places = self._places(row)
            self.output.emit(tile, channel, lambda p: self._product(p, places, column, channel))

    def _product(self, position: int, places: dict[int, Expr], column: Expr, channel: Expr) -> Expr:
        """What lies there of a tile and some filters, the first of which is the round's number `column`."""
        place = places[self.order.range_of(position)[0]] + position * self.tile.tiles
        return load(self.products, place * self.tile.round + column, lanes_of(self.layer))
