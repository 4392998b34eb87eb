"""The frontier between time and memory as a table, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.ir.support.atomic import write_whole

from ..report import duration, size
from ..tables import table

if TYPE_CHECKING:
    from .frontier import Frontier, Point

COLUMNS = ("seconds", "arena_bytes", "differing_operators", "pipeline", "bound_seconds", "doubt")


def csv_text(found: Frontier) -> str:
    """A line a point, under headings."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for p in found.points:
        writer.writerow([p.seconds, p.arena, len(p.differences), p.pipeline, p.bound, p.doubt])
    return buffer.getvalue()


def json_data(found: Frontier) -> dict[str, Any]:
    """For JSON: the points with their differences from the fastest, which is the last."""
    return {
        "model": found.model,
        "target": found.target,
        "tuned": found.tuned,
        "costs": found.costs or None,
        "points": [_point_data(found, point) for point in found.points],
    }


def _point_data(found: Frontier, point: Point) -> Mapping[str, Any]:
    return {
        "seconds": point.seconds,
        "arena_bytes": point.arena,
        "pipeline": point.pipeline,
        "bound_seconds": point.bound,
        "doubt": point.doubt,
        "differences": [
            {
                "operator": found.operators[d.index][0],
                "node": found.operators[d.index][1],
                "primitive": d.primitive,
                "layouts": d.layouts,
                "fastest_primitive": d.instead_of,
                "fastest_layouts": d.instead_of_layouts,
            }
            for d in point.differences
        ],
    }


def table_text(found: Frontier) -> str:
    """A row a point, the fastest last; below, its pipeline on a line of its own, and what is in doubt."""
    least = found.points[-1].seconds
    rows = (
        (number, duration(p.seconds), _share(p.seconds, least), size(p.arena), len(p.differences))
        for number, p in enumerate(found.points, 1)
    )
    headings = ("plan", "time", "slower", "arena", "differ")
    text = table(headings, rows, right=headings)
    pipelines = [f"{number:4}  {p.pipeline}" for number, p in enumerate(found.points, 1)]
    measured = [f"times are not estimates: compile with {found.options} too"] if found.options else []
    doubts = (f"not all may be optimal: {doubt}" for doubt in found.doubts)
    return "\n".join([text, "", "for compile --pipeline:", *pipelines, *measured, *doubts])


def _share(seconds: float, least: float) -> str:
    return f"{seconds / least - 1:.1%}" if least else "-"


def write_csv(found: Frontier, path: Path) -> None:
    """Writes `csv_text` as a file."""
    write_whole(path, csv_text(found).encode())
