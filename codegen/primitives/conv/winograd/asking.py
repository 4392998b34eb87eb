"""What is asked for before it is read: weights of register tiles, rows of tiles."""

from __future__ import annotations

from typing import Any

from secateur.codegen.tir import T, prefetch

from ...specs import layout_block
from .arithmetic import LINE
from .patch import Patch
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


def ask_rows(shape: Shape[Any], patch: Patch, taken: int) -> None:
    """For a line of each row of a tile to come; hardware does not, as rows are short and far apart.

    `taken` channels are transformed at once.
    """
    channels = taken // shape.phases if shape.scattered else taken
    for channel in range(0, channels, layout_block(patch.spec.in_layout)):
        for i in range(shape.extent[0]):
            column = patch.left + shape.arithmetic.ahead
            prefetch(patch.data, patch.pixel(channel, patch.top + i, column), 1)
