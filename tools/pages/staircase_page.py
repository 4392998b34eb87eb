"""Staircases as one HTML page with nothing to fetch: a drawing a layer, its steps and their reasons below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..report import duration, node_text
from .frontier_page import SECONDS, Box, Mark, Scale
from .staircase import kept_text, worst
from .templates import template

if TYPE_CHECKING:
    from secateur.costs.staircase import Staircase, Step

    from .staircase import Staircases

BOX = Box(860, 300, 90, 840, 14, 250, 6)
_COLOURS = 8  # of the style sheet; more primitives share them
_SLOWEST = 3.0  # times the slowest count by the best primitive is still drawn
_HEADROOM = 1.05


@dataclass(frozen=True)
class Line:
    """A primitive's times as a path, in one of the style sheet's colours."""

    name: str
    colour: int
    path: str


@dataclass(frozen=True)
class Drawing:
    """A layer's plot: `best` is the path of the least time, `estimate` what the cost model says of it."""

    counts: Scale
    time: Scale
    best: str
    estimate: str
    lines: tuple[Line, ...]
    keep: tuple[Mark, ...]
    cliffs: tuple[Mark, ...]
    measured: tuple[Mark, ...]


@dataclass(frozen=True)
class Section:
    """What the page says of a layer."""

    title: str
    full: str
    facts: tuple[tuple[str, str], ...]
    drawing: Drawing
    steps: tuple[tuple[int, str, str, tuple[str, ...]], ...]


def drawing(stairs: Staircase, colours: Mapping[str, int]) -> Drawing:
    """Where everything stands; primitives that are far slower than the best leave the plot."""
    slowest = max([*stairs.times.values(), *estimates_of(stairs).values()])
    top = slowest * (_SLOWEST if _crowded(stairs, slowest) else _HEADROOM)
    unit, name = next(((u, n) for u, n in SECONDS if slowest >= u), SECONDS[-1])
    time = Scale(0.0, top or unit, BOX.bottom, BOX.top, unit, name)
    counts = Scale(0.0, float(stairs.full), BOX.left, BOX.right, 1.0, "", BOX.fewest_ticks)
    lines = (
        Line(name, colours[name], _path({c: t for c, t in times.items() if t <= top}, counts, time))
        for name, times in stairs.primitives.items()
    )
    marks = (
        tuple(Mark(counts.place(c), time.place(stairs.times[c]), _title(stairs, c)) for c in found)
        for found in (stairs.keep, stairs.cliffs, sorted(stairs.measured))
    )
    best, estimate = (_path(times, counts, time) for times in (stairs.times, estimates_of(stairs)))
    return Drawing(counts, time, best, estimate, tuple(x for x in lines if x.path), *marks)


def estimates_of(stairs: Staircase) -> dict[int, float]:
    """What the cost model says beside a table's times, scaled to the layer's own count: shapes compare."""
    whole = stairs.estimates.get(stairs.full)
    if not whole:
        return {}
    return {count: time * stairs.times[stairs.full] / whole for count, time in stairs.estimates.items()}


def _crowded(stairs: Staircase, slowest: float) -> bool:
    """Whether another primitive comes near the best's slowest count."""
    others = (min(t[c] for c in t if c > stairs.full // 2) for t in stairs.primitives.values() if len(t) > 1)
    return any(slowest * _HEADROOM < time < slowest * _SLOWEST for time in others)


def _path(times: Mapping[int, float], counts: Scale, time: Scale) -> str:
    """A line through the times; broken where counts are missing. A level stretch is one piece."""
    parts: list[str] = []
    level: float | None = None
    for count in sorted(times):
        y = time.place(times[count])
        start = count - 1 not in times
        if start:
            parts.append(f"M{counts.place(count - 1)} {y}")
        elif y != level:
            parts.append(f"V{y}")
        parts.append(f"H{counts.place(count)}")
        if not start and y == level:
            del parts[-2]
        level = y
    return " ".join(parts)


def _title(stairs: Staircase, count: int) -> str:
    there = [name for name, times in stairs.primitives.items() if count in times]
    fastest = min(there, key=lambda name: stairs.primitives[name][count])
    return f"{count} {stairs.axis}: {duration(stairs.times[count])} ({fastest})"


def _step(step: Step) -> tuple[int, str, str, tuple[str, ...]]:
    return step.count, duration(step.seconds), f"{1 - step.seconds / step.after:.1%}", step.reasons


def section(stairs: Staircase, colours: Mapping[str, int]) -> Section:
    """One layer's part of the page."""
    facts: tuple[tuple[str, str], ...] = (
        (f"all {stairs.full}", duration(stairs.times[stairs.full])),
        ("worth keeping", kept_text(stairs)),
        ("cliffs", f"{len(stairs.cliffs)} counts take longer than a larger one; worst {worst(stairs)}"),
    )
    if stairs.measured:
        counts = f"{len(stairs.measured)} of {len(stairs.counts)}; between them estimates, stretched"
        facts += (("counts measured", counts), ("model", model_text(stairs)))
    steps = tuple(_step(step) for step in reversed(stairs.steps))
    title = f"{node_text(stairs.name)}: {stairs.axis}"
    return Section(title, stairs.name, facts, drawing(stairs, colours), steps)


def model_text(stairs: Staircase) -> str:
    """How the cost model compares with a table's times at the counts that were measured."""
    ratios = [stairs.times[count] / stairs.estimates[count] for count in sorted(stairs.measured)]
    return f"times are {min(ratios):.2f} to {max(ratios):.2f} of what the cost model estimates"


def colours_of(layers: Sequence[Staircase]) -> dict[str, int]:
    """A colour for each primitive, the same in every drawing."""
    names = dict.fromkeys(name for stairs in layers for name in stairs.primitives)
    return {name: i % _COLOURS for i, name in enumerate(names)}


def render_page(found: Staircases) -> str:
    """The page: self-contained HTML that follows the reader's light or dark theme."""
    colours = colours_of(found.layers)
    how = f"taken from {found.costs}" if found.costs else "estimated by the cost model"
    facts = (
        ("target", found.target),
        ("times", f"{how}, one core"),
        ("layers", str(len(found.layers))),
    )
    return template("staircase.html.j2").render(
        found=found,
        facts=facts,
        sections=[section(stairs, colours) for stairs in found.layers],
        box=BOX,
    )
