"""Horizontal bar charts, one row a layer or group, and the page that has such charts and a table.

Bars are worked out here in the units of a row's drawing; `charted.html.j2` lays the rows out, beside their
names or, where the window is narrow, below them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..report import duration
from .templates import template

PLOT_WIDTH = 520
ROW_HEIGHT = 20
_NAME_SHOWN = 44
_FEWEST_TICKS = 4


@dataclass(frozen=True)
class Bar:
    """A rectangle in a row, `offset` and `height` down from its top; `kind` is a class of the style sheet."""

    x: float
    width: float
    kind: str
    offset: float = 4
    height: float = 12


@dataclass(frozen=True)
class ChartRow:
    """A layer's bars, its name (cut in front where long) and in full, and what stands behind the bars."""

    name: str
    full: str
    bars: tuple[Bar, ...]
    text: str


@dataclass(frozen=True)
class Chart:
    """A horizontal bar chart; `ticks` are (x, label), `mark` the x of a limit to hold against."""

    title: str
    note: str
    rows: tuple[ChartRow, ...]
    ticks: tuple[tuple[float, str], ...]
    keys: tuple[tuple[str, str], ...] = ()
    mark: float | None = None


# Axes ----------------------------------------------------------------------------------------------


def nice_step(span: float, fewest: int = _FEWEST_TICKS) -> float:
    """The largest of 1, 2 or 5 times a power of ten that divides `span` > 0 into at least `fewest` parts."""
    power = 10.0 ** math.floor(math.log10(span / fewest))
    return max(factor * power for factor in (1, 2, 5) if factor * power * fewest <= span * (1 + 1e-9))


@dataclass(frozen=True)
class Axis:
    """A linear scale from [low, high] to the plot's width."""

    low: float
    high: float

    def x(self, value: float) -> float:
        """Where `value` lies, held inside the plot."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(PLOT_WIDTH * share, 2)

    def bar(self, start: float, end: float, kind: str, offset: float = 4, height: float = 12) -> Bar:
        """A bar between two values; at least a hairline."""
        left, right = sorted((self.x(start), self.x(end)))
        return Bar(left, round(max(right - left, 1.0), 2), kind, offset, height)

    def ticks(self, text: Callable[[float], str]) -> tuple[tuple[float, str], ...]:
        """Round values in the scale with their places."""
        step = nice_step(self.high - self.low)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple((self.x(i * step), text(i * step)) for i in range(first, last + 1))


def axis_of(values: Iterable[float]) -> Axis:
    """A scale that holds zero and every finite value."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    return Axis(low, high if high > low else low + 1.0)


def short_name(name: str) -> str:
    """The first of the ONNX nodes, cut in front to what a row has room for."""
    first = name.partition("+")[0]
    return first if len(first) <= _NAME_SHOWN else "…" + first[1 - _NAME_SHOWN :]


def time_ticks(axis: Axis) -> tuple[tuple[float, str], ...]:
    """Round times in a scale of seconds."""
    return axis.ticks(lambda v: duration(v).replace(".00", "") if v else "0")


def pair(axis: Axis, above: float | None, below: float | None, kinds: tuple[str, str]) -> tuple[Bar, ...]:
    """Two bars of a row from zero on, of these kinds; none for what is not known."""
    sides = ((above, kinds[0], 3.0), (below, kinds[1], 10.0))
    return tuple(axis.bar(0, value, kind, offset, 6) for value, kind, offset in sides if value is not None)


# The page ------------------------------------------------------------------------------------------

Cell = tuple[str, Any]
"""What is shown, and what it is sorted by."""


def cell(value: float | int | None, text: Callable[[Any], str]) -> Cell:
    """A dash, sorted last, for what is not known."""
    return ("-", "") if value is None else (text(value), value)


@dataclass(frozen=True)
class LayerTable:
    """A row for each layer: its name, and a cell under each heading; those from `numbers` on are numbers."""

    headings: Sequence[str]
    numbers: int
    rows: Sequence[tuple[str, Sequence[Cell]]]

    @property
    def used(self) -> LayerTable:
        """Without the columns of numbers that nothing fills."""
        kept = [i for i in range(len(self.headings)) if i < self.numbers or self._filled(i)]
        rows = [(name, [cells[i] for i in kept]) for name, cells in self.rows]
        return LayerTable([self.headings[i] for i in kept], self.numbers, rows)

    def _filled(self, column: int) -> bool:
        return any(cells[column][0] != "-" for _, cells in self.rows)


@dataclass(frozen=True)
class Charted:
    """What a page shows: facts (name, text), the charts that have rows, a table of layers."""

    title: str
    facts: Sequence[tuple[str, str]]
    charts: Sequence[Chart]
    table: LayerTable


def render(name: str, page: Charted, **more: Any) -> str:
    """The template `name`, which extends `charted.html.j2`, with `more` for its blocks."""
    plot = {"width": PLOT_WIDTH, "row": ROW_HEIGHT}
    return template(name).render(page=page, table=page.table.used, plot=plot, **more)
