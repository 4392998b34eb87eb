"""Vector shuffles in TIR: transposing square tiles, shifting across neighbouring vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..tir import Registers, T
from .loops import Expr


def hold(value: Expr, lanes: int, dtype: str = "float32") -> Expr:
    """The value in a register, so that it is computed once."""
    register = Registers(1, lanes, dtype)
    register[0] = value
    return register[0]


def interleave(a: Expr, b: Expr, lanes: int, high: bool, dtype: str = "float32") -> Expr:
    """a0 b0 a1 b1 ... of the low or of the high halves."""
    start = lanes // 2 if high else 0
    order = [i for k in range(start, start + lanes // 2) for i in (k, lanes + k)]
    return hold(T.Shuffle([a, b], order), lanes, dtype)


def transpose(rows: Sequence[Expr], dtype: str = "float32") -> list[Expr]:
    """The columns of a square of `len(rows)` vectors, a power of two."""
    return interleaved(rows, len(rows), dtype)


def interleaved(rows: Sequence[Expr], lanes: int, dtype: str = "float32") -> list[Expr]:
    """Element 0 of each row, then element 1 of each, ..., in as many vectors, by perfect shuffles."""
    return _shuffled(rows, len(rows), lanes, dtype)


def parted(vectors: Sequence[Expr], lanes: int, dtype: str = "float32") -> list[Expr]:
    """The rows that `interleaved` was given."""
    return _shuffled(vectors, lanes, lanes, dtype)


def _shuffled(rows: Sequence[Expr], times: int, lanes: int, dtype: str) -> list[Expr]:
    """log2(times) perfect shuffles of the rows' elements, each of which rotates their index by one bit."""
    if len(rows) & (len(rows) - 1) or len(rows) < 2:
        raise ValueError(f"{len(rows)} rows: a power of two is needed")
    tile, half, done = list(rows), len(rows) // 2, 1
    while done < times:
        pairs = [(tile[i], tile[i + half]) for i in range(half)]
        tile = [interleave(a, b, lanes, high, dtype) for a, b in pairs for high in (False, True)]
        done *= 2
    return tile


def shifted(left: Expr, right: Expr, by: int, lanes: int) -> Any:
    """Lanes `by` and up of `left` followed by the first `by` lanes of `right`."""
    return T.Shuffle([left, right], list(range(by, by + lanes)))
