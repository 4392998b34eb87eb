"""A transform down the columns of a tile, in TIR."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from secateur.codegen.tir import Registers
from secateur.codegen.vector.streams import held

from .arithmetic import Steps

Expr = Any


def down_columns(
    read: Callable[[int, int], Expr],
    steps: Steps,
    extent: tuple[int, int],
    given: tuple[int, int, str],
    in_turn: bool = False,
) -> Registers:
    """`steps` down every column of `extent` vectors; `given` are rows of what they give, lanes and type.

    Where they are taken `in_turn` each is complete before the next: of large tiles LLVM would begin all, and
    spill.
    """
    (high, broad), (rows, lanes, dtype) = extent, given
    half = Registers(rows * broad, lanes, dtype)
    for j in range(broad):
        column = Registers(high, lanes, dtype)
        for i in range(high):
            column[i] = read(i, j)
        for i, value in enumerate(steps([column[i] for i in range(high)])):
            half[i * broad + j] = value
        if in_turn:
            held(half, range(j, rows * broad, broad))
    return half
