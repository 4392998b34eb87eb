"""What of a TFLite file runs where, as one HTML page with nothing to fetch: a bar of operators, then each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..report import amount, duration, shape_text, size
from .templates import template
from .written import check_paths, write_reports

if TYPE_CHECKING:
    from secateur.codegen.backends.tflite.partition import Mapped

    from .mapping import Mapping

WIDTH, LEAST = 1000.0, 2.0
"""Of the bar, and of an operator in it."""


@dataclass(frozen=True)
class Bar:
    """An operator in the bar: where, how wide by its work, and whether the chip computes it."""

    x: float
    width: float
    mapped: bool
    title: str


def check_page(path: Path | None) -> None:
    """SecateurError for a page that could not be written."""
    check_paths([] if path is None else [path], (".html",))


def write_page(found: Mapping, path: Path) -> None:
    write_reports(found, [path], {".html": render_page})


def render_page(found: Mapping) -> str:
    """The page's text."""
    log = found.log
    return template("mapping.html.j2").render(
        name=found.path.name,
        facts=_facts(found),
        bars=list(_bars(found)),
        width=WIDTH,
        headings=HEADINGS,
        numbers=NUMBERS,
        rows=[_cells(i, *row) for i, row in enumerate(zip(found.rows, found.seconds, strict=True))],
        behind=" ".join(found.behind),
        log=log,
        beside=[
            (kind, f"{a.mapped} of {a.count}", f"{b.mapped} of {b.count}", b.words)
            for kind, a, b in found.beside
        ],
    )


def _facts(found: Mapping) -> list[tuple[str, str]]:
    times = found.times
    return [
        ("operators on the chip", f"{found.mapped} of {len(found.rows)}"),
        ("weights on the chip", size(found.weights - times.streamed)),
        ("weights streamed", size(times.streamed)),
        *((f"estimated time over {link}", duration(times.whole(link))) for link in times.operators),
    ]


def _bars(found: Mapping) -> Iterator[Bar]:
    """Operators side by side, as wide as their share of the multiplications, but never too narrow to see."""
    total = sum(row.operator.macs for row in found.rows) or 1
    room = max(0.0, WIDTH - LEAST * len(found.rows))
    x = 0.0
    for row in found.rows:
        width = LEAST + room * row.operator.macs / total
        yield Bar(
            round(x, 2), round(width, 2), row.reason is None, f"{row.operator.kind}: {row.reason or 'maps'}"
        )
        x += width


NUMBERS = ("MAC", "activations", "weights", "estimate")
HEADINGS = ("operator", "version", "result", *NUMBERS, "Edge TPU")
"""`activations`: bytes that are computed before an operator reads them, and of its results."""


def cells_of(row: Mapped, seconds: float | None) -> tuple[str, ...]:
    """An operator's cells under the headings."""
    op = row.operator
    result = f"{shape_text(op.outputs[0].shape)} {op.outputs[0].dtype}"
    macs = amount(op.macs) if op.macs else "-"
    moved, weights = (size(n) if n else "-" for n in (op.activation_bytes, op.weight_bytes))
    time = "-" if seconds is None else duration(seconds)
    return op.kind, str(op.version), result, macs, moved, weights, time, row.reason or "maps"


def _cells(index: int, row: Mapped, seconds: float | None) -> tuple[bool, tuple[str, ...]]:
    return row.reason is None, (str(index), *cells_of(row, seconds))
