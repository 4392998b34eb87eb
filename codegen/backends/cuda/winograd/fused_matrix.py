"""The kernel of `winograd_fused` by matrix instructions.

A tile's 16 transformed bytes lie side by side in shared memory, as an instruction reads those of 8 tiles.
Weights are the left operand, and lie in memory as lanes hold them: one access for each instruction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....tir import T, load, store, when
from ....vector.shuffles import hold
from ..block import WORDS, Words
from ..matrix import multiply
from ..matrix_tile import COLUMNS, PAIR, ROWS, order
from ..tile import WARP
from ..wmma_gemm import SUMS
from .fused_kernel import Fused, split_weights
from .fused_matrix_tile import MatrixFusedTile, WmmaFusedTile
from .layer import Layer
from .output import lanes_of
from .pairs import held

Array = NDArray[Any]
Expr = Any


def pack(layer: Layer, tile: MatrixFusedTile, weights: Array) -> Array:
    """(position, filter, channel) to [filter tile][step][position][16 filters] of a warp's registers.

    Where only the instruction knows these, [its filters][block of the step][filter][channel].
    """
    split = split_weights(layer, tile, weights)
    outer, steps = split.shape[:2], layer.blocks // tile.step
    if isinstance(tile, WmmaFusedTile):
        plain = split.reshape(*outer, -1, tile.rows, steps, tile.step, 4 * WORDS)
        return np.ascontiguousarray(plain.transpose(1, 4, 0, 2, 5, 3, 6))
    rows = split[:, :, order(tile.filters)]
    lanes = rows.reshape(*outer, -1, 2, COLUMNS, steps, tile.step, WORDS, 4)
    return np.ascontiguousarray(lanes.transpose(1, 5, 0, 2, 4, 7, 6, 3, 8))


class MatrixFused(Fused):
    """One block of threads."""

    tile: MatrixFusedTile

    def _divide(self) -> None:
        self.lane = held(T.truncmod(self.thread, WARP))
        self.group, self.place = held(T.truncdiv(self.lane, 4)), held(T.truncmod(self.lane, 4))
        self.position = held(T.truncdiv(self.thread, WARP) * self.tile.held)
        self.rows_of_tiles = self.tile.filters // ROWS
        self.columns_of_tiles = self.tile.tiles // self.tile.columns

    def _input_place(self, stage: Expr, block: Expr, word: Expr, place: Expr) -> Expr:
        return stage + (block * self.tile.tiles + place) * WORDS + word

    # Products ----------------------------------------------------------------------------------------

    def _multiply(self, step: Expr, stage: Expr) -> None:
        panel = held((self.filter_tile * self.spec.steps + step) * self.layer.positions + self.position)
        for at in range(self.tile.held):
            inputs = held(stage + (self.position + at) * (self.tile.step * self.tile.tiles * WORDS))
            self._multiply_position(at, inputs, held((panel + at) * self.rows_of_tiles))

    def _multiply_position(self, at: int, inputs: Expr, panel: Expr) -> None:
        """Of the warp's position number `at`, from `inputs` on; `panel` is the first of 16 filters."""
        step = self.tile.step
        left, right = Words(2 * step, "int32"), Words(step * self.columns_of_tiles, "int32")
        for i in range(len(right)):
            column, block = divmod(i, step)
            tile = block * self.tile.tiles + column * COLUMNS
            right[i] = self.shared[inputs + tile * WORDS + self.lane]
        for row in range(self.rows_of_tiles):
            left.fetch(0, self.weights, ((panel + row) * WARP + self.lane) * len(left), len(left))
            for column in range(self.columns_of_tiles):
                with self._wanted(at, column * COLUMNS):
                    self._instruct(self._sum(at, row, column), left, right, column * step)

    def _instruct(self, at: int, left: Words, right: Words, first: int) -> None:
        a = [left[i] for i in range(len(left))]
        b = [right[first + i] for i in range(self.tile.step)]
        self.sums.put(at, multiply(a, b, [self.sums[at + i] for i in range(WORDS)], True))

    def _sum(self, at: int, row: int, column: int) -> int:
        """Where the sums of an instruction start among the thread's."""
        return ((at * self.rows_of_tiles + row) * self.columns_of_tiles + column) * WORDS

    # Results -----------------------------------------------------------------------------------------

    def _share(self, first: int) -> None:
        within = first % PAIR
        if self.tile.round >= PAIR:
            self._share_lanes(first)
            return
        with when(T.And(self.group * WORDS >= within, self.group * WORDS < within + self.tile.round)):
            self._share_lanes(first)

    def _share_lanes(self, first: int) -> None:
        """A lane has four filters side by side."""
        row, within = first // PAIR * 2, held(self.group * WORDS - first % PAIR)
        filters = held(self.filter_tile * self.tile.filters + first + within)
        for at in range(self.tile.held):
            position = self.position + at
            scale = hold(load(self.scales, position * self.layer.filters + filters, WORDS), WORDS)
            for column in range(self.columns_of_tiles):
                for side in range(2):
                    total = self._four(at, row, column, side).astype(f"float32x{WORDS}") * scale
                    tile = position * self.tile.tiles + column * COLUMNS + self.place * 2 + side
                    store(self.products, tile * self.tile.round + within, total, WORDS)

    def _four(self, at: int, row: int, column: int, side: int) -> Expr:
        """The sums of four filters from row `row` on and of one tile."""
        four = Words(WORDS, "int32")
        for i in range(WORDS):
            half, register = divmod(i, 2)
            four[i] = self.sums[self._sum(at, row + half, column) + 2 * register + side]
        return four.quad(0)


class WmmaFused(MatrixFused):
    """By the instructions of Volta and Turing: sums are stored as such, and scaled by who reads them."""

    tile: WmmaFusedTile

    def _divide(self) -> None:
        super()._divide()
        self.rows_of_tiles = self.tile.filters // self.tile.rows

    def _multiply_position(self, at: int, inputs: Expr, panel: Expr) -> None:
        for block in range(self.tile.step):
            tile, wmma, columns = self.tile, self.tile.wmma, self.columns_of_tiles
            right = Words(wmma.right * columns, "int32")
            for column in range(columns):
                place = inputs + (block * tile.tiles + column * tile.columns) * WORDS
                right.put(wmma.right * column, wmma.fetch("b", self.shared, place), wmma.right)
            for row in range(self.rows_of_tiles):
                left = Words(wmma.left, "int32")
                place = ((panel + row) * tile.step + block) * (tile.rows * WORDS)
                left.put(0, wmma.fetch("a", self.weights, place), wmma.left)
                for column in range(columns):
                    with self._wanted(at, column * tile.columns):
                        self._add_wide(self._sum(at, row, column), left, right, wmma.right * column)

    def _add_wide(self, at: int, left: Words, right: Words, first: int) -> None:
        wmma, sums = self.tile.wmma, [self.sums[at + i] for i in range(SUMS)]
        a = [left[i] for i in range(wmma.left)]
        b = [right[first + i] for i in range(wmma.right)]
        self.sums.put(at, wmma.multiply(a, b, sums), SUMS)

    def _sum(self, at: int, row: int, column: int) -> int:
        return ((at * self.rows_of_tiles + row) * self.columns_of_tiles + column) * SUMS

    def _share(self, first: int) -> None:
        for at in range(self.tile.held):
            for column in range(self.columns_of_tiles):
                tile, own = self.tile, self._sum(at, first // self.tile.rows, column)
                place = ((self.position + at) * tile.tiles + column * tile.columns) * tile.rows
                tile.wmma.store(self.shared, place, [self.sums[own + i] for i in range(SUMS)])

    def _product(self, position: int, places: dict[int, Expr], column: Expr, channel: Expr) -> Expr:
        lanes, place = lanes_of(self.layer), places[self.order.range_of(position)[0]]
        at = (place + position * self.tile.tiles) * self.tile.round + column
        total = hold(load(self.shared, at, lanes), lanes, "int32")
        scale = load(self.scales, position * self.layer.filters + channel, lanes)
        return total.astype(f"float32x{lanes}") * scale
