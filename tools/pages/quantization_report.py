"""What quantization did to every layer, for people and programs: CSV, JSON, or one HTML page with plots.

The suffix of a file says which. Every file is written whole or not at all.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import written
from .quantization_page import render_page
from .quantization_rows import COLUMNS, LayerReport

# Formats -------------------------------------------------------------------------------------------


def csv_text(report: LayerReport) -> str:
    """A heading and one line for each layer; empty where there is no value, `inf` for an exact result."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in report.layers)
    return stream.getvalue()


def json_data(report: LayerReport) -> dict[str, Any]:
    """As JSON can say it; an infinite SQNR (an exact result) is null as one that is not known."""
    return {
        "model": report.model,
        **{key: _finite(value) for key, value in report.facts.items()},
        "float_layers": list(report.float_layers),
        "slower_layers": list(report.slower),
        "accumulated_sqnr_db": {row.layer: _finite(row.sqnr) for row in report.accumulated},
        "winograd_tiles": [asdict(tile) for tile in report.tiles],
        "layers": [{key: _finite(value) for key, value in asdict(row).items()} for row in report.layers],
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json_text(report: LayerReport) -> str:
    return written.json_text(json_data(report))


FORMATS: dict[str, Callable[[LayerReport], str]] = {
    ".csv": csv_text,
    ".json": _json_text,
    ".html": render_page,
}


# Files ---------------------------------------------------------------------------------------------


def check_paths(paths: Iterable[Path]) -> None:
    """SecateurError for a report that could not be written in the end: known before the work is done."""
    written.check_paths(paths, FORMATS)


def write_reports(report: LayerReport, paths: Sequence[Path]) -> None:
    """Writes the report in the format that each suffix tells; SecateurError as `check_paths`."""
    written.write_reports(report, paths, FORMATS)
