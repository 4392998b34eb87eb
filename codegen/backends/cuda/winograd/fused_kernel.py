"""The kernel of `winograd_fused`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....kernel import Kernel
from ....tir import T, load, prim_func, store, view, when
from ....vector.shuffles import hold
from ..block import WORDS, Words, barrier, thread
from ..tile import WARP
from .fused_tile import READERS, STAGES, FusedTile
from .layer import BLOCK, Layer
from .output import OutputTransform, ending_pointers, lanes_of, residual_pointers
from .pairs import held, parts
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
        return self.layer.blocks

    @property
    def filter_tiles(self) -> int:
        return self.layer.filters // self.tile.filters


def fused_kernel(layer: Layer, tile: FusedTile) -> Kernel:
    """(data, residual where there is one, weights, factors, scales, bias, parameters) to the result."""
    spec = FusedSpec(layer, tile)
    return Kernel(
        "winograd_fused",
        spec,
        partial(_build, spec),
        tile.blocks(layer),
        tile.shared_bytes,
        threads=tile.threads,
    )


def pack(layer: Layer, tile: FusedTile, weights: Array) -> Array:
    """(position, filter, channel) to [filter tile][block][position][word][filter][4 in `_ORDER`]."""
    padded = np.zeros((layer.positions, layer.filters, layer.channels), np.int8)
    padded[:, : weights.shape[1], : weights.shape[2]] = weights
    split = padded.reshape(layer.positions, -1, tile.filters, layer.blocks, WORDS, 4)[..., _ORDER]
    return np.ascontiguousarray(split.transpose(1, 3, 0, 4, 2, 5))


def ordered(factors: Array) -> Array:
    """(positions, channels) with the channels of each word in `_ORDER`."""
    return np.ascontiguousarray(factors.reshape(len(factors), -1, 4)[..., _ORDER]).reshape(factors.shape)


def _build(spec: FusedSpec) -> Any:
    constants = [("weights", "int8"), ("factors", "int32"), ("scales", "float32")]
    ending = [*ending_pointers(spec.layer)]
    pointers = [("data", "uint8"), *residual_pointers(spec.layer), *constants, *ending]
    return prim_func(pointers, lambda *buffers: _Fused(spec, buffers).emit())


class _Fused:
    """One block of threads: warps that multiply, and readers, which transform inputs and results."""

    def __init__(self, spec: FusedSpec, buffers: tuple[Any, ...]) -> None:
        self.spec, self.layer, self.tile = spec, spec.layer, spec.tile
        data, *residual, weights, self.factors, self.scales, bias, parameters, output, shared, block, _ = (
            buffers
        )
        self.data, self.weights = view(data, "int32"), view(weights, "int32")
        self.shared, self.halves, self.products = (view(shared, d) for d in ("int32", "int16", "float32"))
        self.output = OutputTransform(
            spec.layer, residual[0] if residual else None, (bias, parameters, output)
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
        for i in range(len(self.sums)):
            self.sums[i] = T.int32(0)
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
        with T.serial(0, -(-count // READERS)) as turn:
            number = held(turn * READERS + self.reader)
            with when(number < count):
                emit(number)

    # Inputs ------------------------------------------------------------------------------------------

    def _transform(self, step: Expr, stage: Expr) -> None:
        """Half words of a block of channels, tile by tile, into shared memory."""
        count = self.tile.tiles * WORDS * _HALVES
        self._shares(count, lambda number: self._transform_half(number, step, stage))

    def _transform_half(self, number: Expr, step: Expr, stage: Expr) -> None:
        half, word = held(number & 1), held((number >> 1) & (WORDS - 1))
        row = held(number >> 3)
        tile, block = held(T.min(self.first_tile + row, self.layer.tiles - 1)), held(step + T.int32(0))
        place = held(((stage + word * self.tile.pitch + self._place(row)) << 1) + half)
        known = held(block * BLOCK + word * WORDS + half * 2)

        def put(position: int, pairs: list[Expr]) -> None:
            factors = Words(2, "int32")
            factors.fetch(0, self.factors, position * self.layer.channels + known, 2)
            value = joined(parts(held(pairs[0])), factors).astype("int16")
            store(self.halves, place + position * (WORDS * self.tile.pitch * 2), value, 1)

        InputTransform(self.layer, self.data).emit((tile, block, word), (held(half * 8),), put)

    def _place(self, row: Expr) -> Expr:
        """Where a tile lies among the block's in shared memory."""
        gap = self.tile.thread_pitch - self.tile.thread_tiles
        return row + T.truncdiv(row, self.tile.thread_tiles) * gap if gap else row

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
                self._add(at * tile.sums, inputs, filters)

    def _add(self, first: int, inputs: Words, filters: Words) -> None:
        for i in range(self.tile.thread_tiles):
            for j in range(self.tile.thread_filters):
                at = first + i * self.tile.thread_filters + j
                self.sums[at] = T.call_llvm_pure_intrin(
                    "int32", "llvm.nvvm.idp4a.s.s", inputs[i], filters[j], self.sums[at]
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
            self.output.emit(tile, channel, self._reader(held(row * self.tile.round + column), lanes))

    def _reader(self, at: Expr, lanes: int) -> Callable[[int], Expr]:
        """Reads the products of a position that lie at `at` of the first one's."""
        apart = self.tile.tiles * self.tile.round
        return lambda position: load(self.products, position * apart + at, lanes)
