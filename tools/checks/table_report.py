"""A cost table against a network, for people and programs."""

from __future__ import annotations

from typing import Any

from ..report import duration, node_text
from ..tables import table
from .table import Check, Row


def text_of(found: Check) -> str:
    """A row an operator, the whole network, and where the table is off by most."""
    headings = ("predicted", "alone", "measured", "ratio", "operator", "primitive", "node")
    rows = [*map(_cells, found.rows)]
    low, high = found.whole.quartiles
    network = (
        f"network: predicted {duration(found.predicted)}, measured {duration(found.whole.seconds)} "
        f"(quartiles {duration(low)} to {duration(high)} of {found.whole.repeats} runs), "
        f"ratio {found.ratio:.2f}"
    )
    alone = (
        f"its kernels alone, in turn with it: {duration(found.alone)}, "
        f"ratio {found.alone / found.whole.seconds:.2f}"
    )
    listing = table(headings, rows, right=headings[:4], shorten=headings[4:])
    return "\n".join([listing, "", network, alone, *_drift(found), *map(_worst, found.worst)])


def _drift(found: Check) -> list[str]:
    """Whether the machine has changed since the table was made, rather than the table being wrong."""
    if not found.has_drifted:
        return []
    times = found.alone / found.predicted
    return [
        f"the machine has changed: kernels take {times:.2f} times what the table says; --fresh measures again"
    ]


def _cells(row: Row) -> tuple[str | None, ...]:
    predicted = None if row.predicted is None else duration(row.predicted)
    ratio = f"{row.predicted / row.measured:.2f}" if row.predicted and row.measured else None
    times = (predicted, duration(row.alone), duration(row.measured))
    return *times, ratio, row.operator, row.primitive, node_text(row.node) or None


def _worst(row: Row) -> str:
    off = (row.predicted or 0.0) - row.measured
    return f"off by {'+' if off > 0 else '-'}{duration(abs(off))}: {row.operator} {node_text(row.node)}"


def json_data(found: Check) -> dict[str, Any]:
    """For JSON, times in seconds."""
    return {
        "predicted": found.predicted,
        "alone": found.alone,
        "measured": found.whole.seconds,
        "quartiles": found.whole.quartiles,
        "runs": found.whole.repeats,
        "ratio": found.ratio,
        "operators": [
            {
                "operator": row.operator,
                "node": row.node,
                "primitive": row.primitive,
                "predicted": row.predicted,
                "alone": row.alone,
                "measured": row.measured,
            }
            for row in found.rows
        ],
    }
