"""Registers of matrices of bytes: loads, products and stores of whole tiles (`Isa.tiles`).

Their numbers are part of the instructions. What shape each has is the thread's state, which a kernel sets
before its first task and gives back after its last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..targets.isa import Tiles
from ..tir import T, splat, store

Expr = Any
Buffer = Any

SHAPES_BYTES = 64  # of the table of shapes
_PALETTE, _WIDTHS, _HEIGHTS = 0, 16, 48  # places in it


@dataclass(frozen=True)
class TileCode:
    """Emits them; `tile`, `sums`, `pixels` and `filters` are numbers of registers."""

    isa: Tiles

    def configure(self, room: Buffer) -> None:
        """Gives every register its full shape; `room` is `SHAPES_BYTES` of bytes, which are written."""
        table = np.zeros(SHAPES_BYTES, np.uint8)
        table[_PALETTE] = 1
        table[_WIDTHS : _WIDTHS + 2 * self.isa.registers : 2] = self.isa.row_bytes
        table[_HEIGHTS : _HEIGHTS + self.isa.registers] = self.isa.rows
        words = table.view(np.int32)
        held = T.Shuffle([splat(int(word), 1, "int32") for word in words], list(range(len(words))))
        store(room, 0, T.reinterpret(f"uint8x{SHAPES_BYTES}", held), SHAPES_BYTES)
        self._emit("ldtilecfg", T.address_of(room[0]))

    def release(self) -> None:
        self._emit("tilerelease")

    def clear(self, tile: int) -> None:
        self._emit("tilezero", T.int8(tile))

    def load(self, tile: int, buffer: Buffer, index: Expr, apart: int) -> None:
        """Rows that begin `apart` bytes from each other, the first at byte `index`."""
        self._emit("tileloadd64", T.int8(tile), T.address_of(buffer[index]), T.int64(apart))

    def store(self, tile: int, buffer: Buffer, index: Expr, apart: int) -> None:
        """The same; `buffer` is of bytes."""
        self._emit("tilestored64", T.int8(tile), T.address_of(buffer[index]), T.int64(apart))

    def multiply(self, sums: int, pixels: int, filters: int) -> None:
        """Adds the products of a tile of pixels and a tile of filters."""
        self._call(self.isa.product, *map(T.int8, (sums, pixels, filters)))

    def _emit(self, name: str, *arguments: Expr) -> None:
        self._call(self.isa.prefix + name, *arguments)

    def _call(self, intrinsic: str, *arguments: Expr) -> None:
        T.evaluate(T.call_llvm_intrin("void", intrinsic, *arguments))
