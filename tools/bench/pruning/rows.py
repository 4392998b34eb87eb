"""What the comparison measured, row by row, and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from .ask import Measure

UNPRUNED = "unpruned"
CLOCK = 2
"""How times are measured; other ways do not compare. 1 were medians, which other work on the machine moved by
a tenth, 2 are quiet times."""


@dataclass(frozen=True)
class Row:
    """One network: accuracies are shares of 1, `faster` is the whole network's measured time over its own.

    `less` is how many times less of `measure` was asked; `int8` is the accuracy of the network in 8 bits;
    `clock` is how `faster` was measured, 1 in rows that do not say.
    """

    method: str
    measure: Measure
    less: float
    epochs: int
    seed: int
    accuracy: float
    macs: int
    faster: float | None = None
    int8: float | None = None
    clock: int = 1

    @property
    def key(self) -> str:
        return f"{self.method}/{self.measure}/{self.less:g}/{self.epochs}/{self.seed}"


HEADINGS = ("method", "asked", "MACs", "time", "epochs", "accuracy", "lost", "int8", "lost in 8 bits")


def as_markdown(rows: Sequence[Row]) -> str:
    """A line for each method and what it was asked: the mean accuracy over seeds, and what it lost.

    After the mean stands the standard deviation over seeds, where there are several.
    """
    whole = next(row.accuracy for row in rows if row.method == UNPRUNED)
    every = next(row.macs for row in rows if row.method == UNPRUNED)
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    lines += [_cells(found, whole, every) for found in _grouped(rows).values()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(found: Sequence[Row], whole: float, every: int) -> tuple[str, ...]:
    first = found[0]
    share = mean(row.accuracy for row in found)
    spread = f" ± {100 * stdev(row.accuracy for row in found):.2f}" if len(found) > 1 else ""
    eight = [row.int8 for row in found if row.int8 is not None]
    floats = [row.accuracy for row in found if row.int8 is not None]
    return (
        first.method,
        "" if first.method == UNPRUNED else f"{first.less:g}x {first.measure}",
        f"{every / first.macs:.2f}x",
        "" if first.faster is None else f"{first.faster:.2f}x",
        str(first.epochs),
        f"{share:.2%}{spread}",
        f"{100 * (whole - share):.2f}",
        f"{mean(eight):.2%}" if eight else "",
        f"{100 * (mean(floats) - mean(eight)):.2f}" if eight else "",
    )


def _grouped(rows: Sequence[Row]) -> Mapping[tuple[object, ...], list[Row]]:
    """Rows that differ by their seeds alone, what was asked of them first."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.measure, row.less, row.epochs)):
        found.setdefault((row.method, row.measure, row.less, row.epochs), []).append(row)
    return found
