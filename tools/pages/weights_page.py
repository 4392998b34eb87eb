"""The sizes of a model's weights as one HTML page with nothing to fetch: frequent patterns, then layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..report import shape_text, size
from .templates import template
from .weights import winner

if TYPE_CHECKING:
    from .weights import Pattern, Report, Row

CELL = 10  # of a drawing


@dataclass(frozen=True)
class Square:
    """A weight of a pattern: how dark, and whether it is negative."""

    x: int
    y: int
    value: int
    strength: float


@dataclass(frozen=True)
class Picture:
    """A pattern as squares, and how often it occurs."""

    width: int
    height: int
    count: int
    squares: tuple[Square, ...]


def render_page(found: Report) -> str:
    """The page's text."""
    names = list(found.total.bytes)
    return template("weights.html.j2").render(
        found=found,
        names=names,
        rows=[_cells(row, names) for row in (*found.rows, found.total)],
        pictures=[_picture(p) for p in found.patterns],
        cell=CELL,
    )


def _cells(row: Row, names: list[str]) -> tuple[str, str, tuple[str, ...], str]:
    sizes = (row.bytes[name] for name in names)
    texts = tuple("-" if n is None else size(n) for n in sizes)
    return row.name, shape_text(row.shape) if row.shape else "", texts, winner(row)


def _picture(pattern: Pattern) -> Picture:
    height, width = pattern.values.shape
    return Picture(width * CELL, height * CELL, pattern.count, tuple(_squares(pattern)))


def _squares(pattern: Pattern) -> Iterator[Square]:
    values = pattern.values.astype(int)
    most = max(int(abs(values).max()), 1)
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            yield Square(x * CELL, y * CELL, int(value), round(abs(int(value)) / most, 2))
