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
from .matrix import fetch_wmma, multiply_wmma, store_wmma
from .matrix_gemm import MatrixGemm
from .matrix_tile import ROWS
from .tile import WARP

Expr = Any

MIDDLE = 128
_MIDDLES = -0x7F7F7F80  # in each byte of a word
_SUMS = ROWS * ROWS // WARP  # of an instruction, a lane's
_OPERAND = 2  # words of a lane


class WmmaGemm(MatrixGemm):
    """One block of threads."""

    def _divide(self) -> None:
        tile, warp = self.tile, T.truncdiv(self.thread, WARP)
        across = tile.filters // tile.thread_filters
        self.lane, self.own = held(T.truncmod(self.thread, WARP)), held(warp * (ROWS * ROWS))
        self.row = held(T.truncdiv(warp, across) * tile.thread_pixels)
        self.first_row = held(T.truncmod(warp, across) * tile.thread_filters)
        self.rows_of_tiles, self.columns_of_tiles = tile.thread_filters // ROWS, tile.thread_pixels // ROWS

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
        left = Words(_OPERAND * self.rows_of_tiles, "int32")
        for row in range(self.rows_of_tiles):
            place = (block * tile.filters + self.first_row + row * ROWS) * WORDS
            left.put(row * _OPERAND, fetch_wmma("a", self.shared, panels + place), _OPERAND)
        for column in range(self.columns_of_tiles):
            with self._wanted(column):
                right = Words(_OPERAND, "int32")
                place = (block * tile.pixels + self.row + column * ROWS) * WORDS
                right.put(0, fetch_wmma("b", self.shared, stage + place), _OPERAND)
                for row in range(self.rows_of_tiles):
                    self._add(row, column, left, right)

    def _add(self, row: int, column: int, left: Words, right: Words) -> None:
        at = self._first_sum(row, column)
        a = [left[row * _OPERAND + i] for i in range(_OPERAND)]
        sums = [self.sums[at + i] for i in range(_SUMS)]
        self.sums.put(at, multiply_wmma([*a, right[0], right[1]], sums), _SUMS)

    def _first_sum(self, row: int, column: int) -> int:
        return (row * self.columns_of_tiles + column) * _SUMS

    def _store(self) -> None:
        """The results of one instruction after another: a lane finishes four filters of two pixels."""
        for column in range(self.columns_of_tiles):
            for row in range(self.rows_of_tiles):
                at = self._first_sum(row, column)
                store_wmma(self.shared, self.own, [self.sums[at + i] for i in range(_SUMS)])
                barrier()
                for first in range(0, ROWS, WARP // WORDS):
                    self._store_quads(row, column, first)
                barrier()

    def _store_quads(self, row: int, column: int, first: int) -> None:
        within = T.truncdiv(self.lane, WORDS) + first
        place = held(T.truncmod(self.lane, WORDS) * WORDS)
        self.column = held(self.first_row + row * ROWS + place)
        pixel = held(self.first_pixel + self.row + column * ROWS + within)
        total = load(self.shared, self.own + within * ROWS + place, WORDS)
        with when(pixel < self._end()):
            self._if(self._exists(0), lambda: self._finish(total + self._first(0), 0, pixel))
