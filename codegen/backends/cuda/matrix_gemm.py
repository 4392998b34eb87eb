"""Implicit GEMM by matrix instructions: how a warp multiplies what lies in shared memory.

Pixels and filters lie there as 16 bytes each, so that the words which the 32 lanes of a warp read are 32 in a
row. Filters are the left operand; their rows are ordered so that a lane's results are four side by side.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ...tir import T, store, when
from .block import WORDS, Words
from .implicit_gemm_kernel import Gemm, held
from .matrix import multiply
from .matrix_tile import COLUMNS, ROWS, MatrixTile
from .tile import WARP

Expr = Any


class MatrixGemm(Gemm):
    """One block of threads."""

    tile: MatrixTile

    def _divide(self) -> None:
        tile, lane, warp = self.tile, T.truncmod(self.thread, WARP), T.truncdiv(self.thread, WARP)
        across = tile.filters // tile.thread_filters
        self.group, self.place = held(T.truncdiv(lane, 4)), held(T.truncmod(lane, 4))
        self.row = held(T.truncdiv(warp, across) * tile.thread_pixels)
        self.first_row = held(T.truncmod(warp, across) * tile.thread_filters)
        self.column = held(self.first_row + self.group * WORDS)
        self.rows_of_tiles, self.columns_of_tiles = tile.thread_filters // ROWS, tile.thread_pixels // COLUMNS

    def _share_pixel(self, i: int, unit: Expr, stage: Expr) -> None:
        store(self.shared, stage + unit * WORDS, self.fetched.quad(WORDS * i), WORDS)

    def _sum(self, row: int, column: int, register: int) -> int:
        """Where a result of instruction (row, column) is among the thread's."""
        return (row * self.columns_of_tiles + column) * WORDS + register

    def _start(self) -> None:
        for row in range(0, self.rows_of_tiles, 2):
            first = Words(WORDS, self.spec.dtype)
            first.put(0, self._first(row * ROWS))
            for column in range(self.columns_of_tiles):
                for at in range(2 * WORDS):
                    half, register = divmod(at, WORDS)
                    self.sums[self._sum(row + half, column, register)] = first[2 * half + register // 2]

    def _multiply(self, stage: Expr) -> None:
        step = min(self.tile.blocks, 2)
        for block in range(0, self.tile.blocks, step):
            self._multiply_blocks(stage, range(block, block + step))

    def _multiply_blocks(self, stage: Expr, blocks: range) -> None:
        tile, lane = self.tile, held(self.group * WORDS + self.place)
        panels = stage + tile.pixels * tile.blocks * WORDS
        left = Words(2 * len(blocks) * self.rows_of_tiles, "int32")
        right = Words(len(blocks) * self.columns_of_tiles, "int32")
        for i in range(len(left)):
            (row, rest), count = divmod(i, 2 * len(blocks)), tile.filters
            place = blocks[rest // 2] * count + row * ROWS + rest % 2 * COLUMNS
            left[i] = self.shared[panels + (place + self.first_row) * WORDS + lane]
        for i in range(len(right)):
            column, half = divmod(i, len(blocks))
            place = blocks[half] * tile.pixels + column * COLUMNS
            right[i] = self.shared[stage + (place + self.row) * WORDS + lane]
        for column in range(self.columns_of_tiles):
            with self._wanted(column):
                for row in range(self.rows_of_tiles):
                    self._instruct(row, column, left, right, len(blocks))

    def _wanted(self, column: int) -> AbstractContextManager[None]:
        """Where the warp's pixels number `column` are multiplied: not where none of them exists."""
        if not self._ragged():
            return nullcontext()
        return when(self.first_pixel + self.row + column * self.tile.columns < self._end())

    def _ragged(self) -> bool:
        """Whether that may be."""
        return False

    def _instruct(self, row: int, column: int, left: Words, right: Words, blocks: int) -> None:
        a = [left[row * 2 * blocks + i] for i in range(2 * blocks)]
        b = [right[column * blocks + i] for i in range(blocks)]
        at = self._sum(row, column, 0)
        sums = [self.sums[at + i] for i in range(WORDS)]
        self.sums.put(at, multiply(a, b, sums, self.spec.signed))

    def _store(self) -> None:
        for column in range(self.columns_of_tiles):
            for side in range(2):
                within = self.row + column * COLUMNS + self.place * 2 + side
                pixel = held(self.first_pixel + within)
                with when(pixel < self._end()):
                    for row in range(0, self.rows_of_tiles, 2):
                        self._if(
                            self._exists(row * ROWS),
                            lambda r=row, c=column, s=side, p=pixel: self._store_rows(r, c, s, p),
                        )

    def _store_rows(self, row: int, column: int, side: int, pixel: Expr) -> None:
        four = Words(WORDS, self.spec.dtype)
        for i in range(WORDS):
            half, register = divmod(i, 2)
            four[i] = self.sums[self._sum(row + half, column, 2 * register + side)]
        self._finish(four.quad(0), row * ROWS, pixel)
