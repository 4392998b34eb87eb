"""Which weights a register tile asks for, before those after it come to them."""

from __future__ import annotations

from typing import Any

from secateur.codegen.tir import T

from .arithmetic import LINE
from .plan import Blocking, Shape

Expr = Any


def lines_asked(shape: Shape[Any], blocking: Blocking, part: Expr, channels: int) -> list[Expr]:
    """Those that register tile `part` asks for, in bytes beyond the weights of a pass of so many channels.

    All register tiles of a block of tiles go through the same weights: each asks for its share. Where the
    last block has fewer, some are not asked for.
    """
    if not blocking.ahead:
        return []
    size = shape.arithmetic.element_bytes
    lines, ahead = channels * shape.width(blocking) * size // LINE, blocking.ahead * size
    parts = -(-min(shape.tiles, blocking.tiles) // blocking.rows)
    share = -(-lines // parts)
    if share == lines:
        return [T.int64(n * LINE + ahead) for n in range(lines)]
    numbers = [part * share + n for n in range(share)]
    if parts * share > lines:
        numbers = [number % lines for number in numbers]
    return [T.Cast("int64", number * LINE) + T.int64(ahead) for number in numbers]
