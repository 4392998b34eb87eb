"""Implicit GEMM by the matrix instructions of Volta and Turing, which load their operands themselves.

What lies where in a warp's registers is the GPU's affair, so sums start at zero, and get to the ending
through shared memory. Both operands are signed bytes: pixels are less by `MIDDLE`, which where their sums
start undoes.
"""

from __future__ import annotations

from typing import Any

from ...tir import T, load, splat, store, when
from .block import WORDS, Words, barrier
from .implicit_gemm_kernel import held
from .matrix_gemm import MatrixGemm
from .matrix_tile import WmmaTile
from .tile import WARP

Expr = Any

MIDDLE = 128
_MIDDLES = -0x7F7F7F80  # in each byte of a word
SUMS = 8  # of an instruction, a lane's


class WmmaGemm(MatrixGemm):
    """One block of threads."""

    tile: WmmaTile

    def _divide(self) -> None:
        tile, warp = self.tile, T.truncdiv(self.thread, WARP)
        across = tile.filters // tile.thread_filters
        self.lane, self.own = held(T.truncmod(self.thread, WARP)), held(warp * (SUMS * WARP))
        self.row = held(T.truncdiv(warp, across) * tile.thread_pixels)
        self.first_row = held(T.truncmod(warp, across) * tile.thread_filters)
        self.rows_of_tiles, self.columns_of_tiles = (
            tile.thread_filters // tile.rows,
            tile.thread_pixels // tile.columns,
        )

    def _share_pixel(self, i: int, unit: Expr, stage: Expr) -> None:
        value = self.fetched.quad(WORDS * i)
        if not self.spec.signed:
            value = value ^ splat(_MIDDLES, WORDS, "int32")
        store(self.shared, stage + unit * WORDS, value, WORDS)

    def _start(self) -> None:
        for at in range(0, self.tile.sums, WORDS):
            self.sums.put(at, splat(0, WORDS, "int32"))

    def _multiply(self, stage: Expr) -> None:
        for block in range(self.tile.blocks):
            self._multiply_block(stage, block)

    def _multiply_block(self, stage: Expr, block: int) -> None:
        tile, panels = self.tile, stage + self.tile.pixels * self.tile.blocks * WORDS
        wmma = tile.wmma
        left = Words(wmma.left * self.rows_of_tiles, "int32")
        for row in range(self.rows_of_tiles):
            place = (block * tile.filters + self.first_row + row * tile.rows) * WORDS
            left.put(row * wmma.left, wmma.fetch("a", self.shared, panels + place), wmma.left)
        for column in range(self.columns_of_tiles):
            with self._wanted(column):
                right = Words(wmma.right, "int32")
                place = (block * tile.pixels + self.row + column * tile.columns) * WORDS
                right.put(0, wmma.fetch("b", self.shared, stage + place), wmma.right)
                for row in range(self.rows_of_tiles):
                    self._add(row, column, left, right)

    def _add(self, row: int, column: int, left: Words, right: Words) -> None:
        at, wmma = self._first_sum(row, column), self.tile.wmma
        a = [left[row * wmma.left + i] for i in range(wmma.left)]
        b = [right[i] for i in range(wmma.right)]
        self.sums.put(at, wmma.multiply(a, b, [self.sums[at + i] for i in range(SUMS)]), SUMS)

    def _first_sum(self, row: int, column: int) -> int:
        return (row * self.columns_of_tiles + column) * SUMS

    def _store(self) -> None:
        """The results of one instruction after another, a lane finishing four filters of two pixels."""
        for column in range(self.columns_of_tiles):
            for row in range(self.rows_of_tiles):
                at = self._first_sum(row, column)
                self.tile.wmma.store(self.shared, self.own, [self.sums[at + i] for i in range(SUMS)])
                barrier()
                for first in range(0, self.tile.columns, WARP // (self.tile.rows // WORDS)):
                    self._store_quads(row, column, first)
                barrier()

    def _store_quads(self, row: int, column: int, first: int) -> None:
        tile, across = self.tile, self.tile.rows // WORDS  # lanes that share a pixel
        within = T.truncdiv(self.lane, across) + first
        place = held(T.truncmod(self.lane, across) * WORDS)
        self.column = held(self.first_row + row * tile.rows + place)
        pixel = held(self.first_pixel + self.row + column * tile.columns + within)
        total = load(self.shared, self.own + within * tile.rows + place, WORDS)
        with when(pixel < self._end()):
            self._if(self._exists(0), lambda: self._finish(total + self._first(0), 0, pixel))
