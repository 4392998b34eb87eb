"""Where register tiles of bytes read and store: by addresses, as LLVM would work out each one anew."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.codegen.tir import Registers, T
from secateur.codegen.vector.streams import address, moved, put

Expr = Any


class Addresses:
    """Of a position's register tiles, one after another, from the first one's bytes and sums on."""

    def __init__(self, inputs: tuple[Any, Expr], sums: tuple[Any, Expr], dtype: str) -> None:
        """Each is a buffer and an index; `dtype` is of sums as they are stored."""
        self._dtype, self._size = dtype, np.dtype(dtype).itemsize
        self._inputs, self._sums = address(*inputs), Registers(1, 1, "int64")
        self._sums[0] = address(*sums)

    def source(self, number: Expr, each: int) -> Expr:
        """Where the bytes of a register tile begin, which lie `each` on from the last one's."""
        return moved(self._inputs, number, each)

    def put(self, at: int, value: Expr, lanes: int) -> None:
        """Stores a register tile's sum number `at`."""
        put(self._sums[0] + T.int64(at * self._size), value, lanes, self._dtype)

    def move(self, sums: int) -> None:
        """To the next register tile's, so many on."""
        self._sums[0] = moved(self._sums[0], 1, sums * self._size)
