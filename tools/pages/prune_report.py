"""What pruning did, for people and programs: CSV, JSON, or one HTML page with plots.

The suffix of a file says which. Every file is written whole or not at all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import written
from .prune_page import render_page

if TYPE_CHECKING:
    from secateur.passes.prune.report import LayerState, PruningReport

COLUMNS = (
    "kind", "name", "channels_before", "channels_after", "loss", "importance",
    "primitive_before", "primitive_after", "seconds_before", "seconds_after",
)  # fmt: skip


def csv_text(report: PruningReport) -> str:
    """A heading, a line for each block that went, group and layer; empty where there is no value."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for block in report.blocks:
        writer.writerow({"kind": "block", "name": block.name, "loss": block.loss})
    for group in report.groups:
        writer.writerow(
            {
                "kind": "group",
                "name": group.name,
                "channels_before": group.before,
                "channels_after": group.after,
                "loss": group.loss,
                "importance": "" if group.importance is None else group.importance,
            }
        )
    for layer in report.layers:
        sides = {**_side(layer.before, "before"), **_side(layer.after, "after")}
        writer.writerow({"kind": "layer", "name": layer.name, **sides})
    return stream.getvalue()


def _side(state: LayerState | None, when: str) -> dict[str, Any]:
    if state is None:
        return {}
    channels = state.shape[1] if len(state.shape) > 1 else ""
    return {
        f"channels_{when}": channels,
        f"primitive_{when}": state.primitive,
        f"seconds_{when}": state.seconds,
    }


def json_data(report: PruningReport) -> dict[str, Any]:
    """As JSON can say it; the kept indices are in a file of their own (`passes.prune.kept`)."""
    return {
        "model": report.model,
        "target": report.target,
        "criterion": report.criterion,
        "loss": report.loss,
        "importance": report.importance,
        "accuracy": _pair(report.accuracy),
        "clock": _pair(report.clock),
        "before": asdict(report.before),
        "after": asdict(report.after),
        "blocks": [asdict(row) for row in report.blocks],
        "groups": [asdict(row) for row in report.groups],
        "layers": [asdict(row) for row in report.layers],
        "repaired": list(report.repaired),
        "spaces": [asdict(row) for row in report.spaces],
        "epochs": [asdict(row) for row in report.epochs],
        "frozen": list(report.frozen),
    }


def _pair(of: tuple[float, float] | None) -> dict[str, float] | None:
    return None if of is None else dict(zip(("before", "after"), of, strict=True))


def _json_text(report: PruningReport) -> str:
    return written.json_text(json_data(report))


FORMATS: dict[str, Callable[[PruningReport], str]] = {
    ".csv": csv_text,
    ".json": _json_text,
    ".html": render_page,
}


def check_paths(paths: Iterable[Path]) -> None:
    """SecateurError for a report that could not be written in the end: known before the work is done."""
    written.check_paths(paths, FORMATS)


def write_reports(report: PruningReport, paths: Sequence[Path]) -> None:
    """Writes the report in the format that each suffix tells; SecateurError as `check_paths`."""
    written.write_reports(report, paths, FORMATS)
