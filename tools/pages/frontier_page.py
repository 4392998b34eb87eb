"""The frontier as one HTML page: a drawing whose points tell their plans, with nothing to fetch.

Places are worked out here in the units of the drawing; `frontier.html.j2` paints them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..report import duration, node_text, size
from .charts import nice_step
from .templates import template

if TYPE_CHECKING:
    from .frontier import Frontier, Point


@dataclass(frozen=True)
class Box:
    """A drawing's extent, and that of the plot in it; an axis has that many parts, or some more."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    fewest_ticks: int


BROAD = Box(860, 420, 90, 840, 16, 370, 4)
NARROW = Box(390, 330, 58, 382, 12, 280, 2)
"""What a telephone shows: letters keep their size, so that everything else is smaller."""
_MARGIN = 0.06  # of the range, on either side of the points


@dataclass(frozen=True)
class Scale:
    """A linear scale from [low, high] in a unit to places from `start` to `end` in the drawing."""

    low: float
    high: float
    start: float
    end: float
    unit: float
    name: str
    fewest_ticks: int = BROAD.fewest_ticks

    def place(self, value: float) -> float:
        """Where `value` lies."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + (self.end - self.start) * share, 2)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Round numbers of the unit with their places."""
        step = nice_step((self.high - self.low) / self.unit, self.fewest_ticks)
        first = math.ceil(self.low / self.unit / step - 1e-9)
        last = math.floor(self.high / self.unit / step + 1e-9)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return tuple(
            (self.place(i * step * self.unit), f"{i * step:.{digits}f}") for i in range(first, last + 1)
        )


_BYTES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def scale(values: list[float], start: float, end: float, units: tuple[tuple[float, str], ...]) -> Scale:
    """A scale around `values`, which are none of them negative, in the unit that suits the largest."""
    low, high = min(values), max(values)
    margin = (high - low) * _MARGIN or high * _MARGIN or units[-1][0]
    unit, name = next(((u, n) for u, n in units if high >= u), units[-1])
    return Scale(max(low - margin, 0.0), high + margin, start, end, unit, name)


@dataclass(frozen=True)
class Mark:
    """A point in the drawing, and its title."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Drawing:
    """Axes, points, and the line of least time at each limit on memory."""

    box: Box
    memory: Scale
    time: Scale
    marks: tuple[Mark, ...]

    @property
    def line(self) -> str:
        """A path: time falls where the next point's memory is there."""
        first, *rest = self.marks
        steps = [f"H{mark.x} V{mark.y}" for mark in rest]
        return " ".join([f"M{first.x} {self.box.top} V{first.y}", *steps, f"H{self.box.right}"])


def drawing(found: Frontier, box: Box = BROAD) -> Drawing:
    """Where everything stands."""
    memory = scale([float(p.arena) for p in found.points], box.left, box.right, _BYTES)
    time = scale([p.seconds for p in found.points], box.bottom, box.top, SECONDS)
    memory, time = (replace(axis, fewest_ticks=box.fewest_ticks) for axis in (memory, time))
    marks = (Mark(memory.place(p.arena), time.place(p.seconds), _title(p)) for p in found.points)
    return Drawing(box, memory, time, tuple(marks))


def _title(point: Point) -> str:
    count = len(point.differences)
    differ = f"{count} operator{'s' * (count != 1)} unlike the fastest" if count else "the fastest"
    return f"{duration(point.seconds)}, {size(point.arena)}: {differ}"


def _plans(found: Frontier) -> list[dict[str, Any]]:
    """What the page's script shows of each point."""
    names = [f"{node_text(loc) or name} ({name})" for name, loc in found.operators]
    return [
        {
            "title": _title(point),
            "pipeline": point.pipeline,
            "differences": [[names[d.index], d.text] for d in point.differences],
        }
        for point in found.points
    ]


def _facts(found: Frontier) -> list[tuple[str, str]]:
    how = f"taken from {found.costs}" if found.costs else "estimated by the cost model"
    how = "measured on this machine" if found.tuned else how
    exact = "; ".join(found.doubts) or "every plan that no other beats is here"
    return [
        ("target", found.target),
        ("times", f"{how}, one core"),
        ("operators", str(len(found.operators))),
        ("plans", f"{len(found.points)}; {exact}"),
    ]


def _row(point: Point) -> tuple[str, str, int, str]:
    return duration(point.seconds), size(point.arena), len(point.differences), point.pipeline


def render_page(found: Frontier) -> str:
    """The page: self-contained HTML that follows the reader's light or dark theme."""
    return template("frontier.html.j2").render(
        found=found,
        facts=_facts(found),
        drawings=[("broad", drawing(found)), ("narrow", drawing(found, NARROW))],
        rows=[_row(point) for point in found.points],
        plans=_plans(found),
    )
