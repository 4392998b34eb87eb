"""Implicit GEMM by matrix instructions: how a warp multiplies what lies in shared memory.

Pixels and filters lie there as 16 bytes each, so that the words which the 32 lanes of a warp read are 32 in a
row. Filters are the left operand; their rows are ordered so that a lane's results are four side by side.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ...tir import T, store, when
from .async_copy import copy, end_group, wait_for_groups
from .block import WORDS, Words, barrier
from .implicit_gemm_kernel import Gemm, held
from .matrix import multiply
from .matrix_tile import COLUMNS, ROWS, MatrixTile
from .tile import STAGES, WARP

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

    # More steps in shared memory than two -------------------------------------------------------------

    def _multiply_all(self, first: Any, count: Any) -> None:
        """Copies are in groups, one for each step, of which all but the newest must have arrived."""
        depth = self.tile.depth
        if depth == STAGES:
            super()._multiply_all(first, count)
            return
        self.weight_units = self._units(self.tile.filters)
        for ahead in range(depth - 1):
            with when(ahead < count):
                self._copy(T.int32(ahead) + first, T.int32(ahead * self.tile.stage_words))
            end_group()
        with T.serial(0, count) as step:
            wait_for_groups(depth - 2)
            barrier()
            ahead = held(step + (depth - 1))
            with when(ahead < count):
                self._copy(ahead + first, held(T.truncmod(ahead, depth) * self.tile.stage_words))
            end_group()
            self._multiply(T.truncmod(step, depth) * self.tile.stage_words)

    def _copy(self, step: Expr, stage: Expr) -> None:
        """From memory into shared memory, as it lies; what is outside of the image is a constant."""
        offset = self._move_to(held(step))
        for i, (unit, there) in enumerate(self.pixel_units):
            place = stage + unit * WORDS
            self._if(there, lambda i=i, p=place: self._copy_pixel(i, p, offset))
        panel = self.tile.filters * self.tile.blocks
        source = (self._panels() * self.spec.steps + step) * panel
        first = stage + self.tile.pixels * self.tile.blocks * WORDS
        for unit, there in self.weight_units:
            places = (first + unit * WORDS, (source + unit) * WORDS)
            self._if(there, lambda p=places: copy(self.shared, p[0], self.weights, p[1]))

    def _copy_pixel(self, i: int, to: Expr, offset: Expr) -> None:
        place = (self.places[i] + offset) * WORDS
        if not self.spec.padded:
            copy(self.shared, to, self.data, place)
            return
        with T.If(self._inside(i)):
            with T.Then():
                copy(self.shared, to, self.data, place)
            with T.Else():
                copy(self.shared, to, self.padding, 0)

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
        return self._end() % self.tile.pixels != 0 if isinstance(self._end(), int) else True

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
