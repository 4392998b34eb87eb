"""What quantization did to every layer, for people and programs: CSV, JSON, or one HTML page with plots.

The suffix of a file says which. Every file is written whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from secateur.ir.errors import SecateurError
from secateur.passes.quantize.warning import Accumulated

from .quantization_page import render_page


@dataclass(frozen=True)
class LayerRow:
    """One operator of the quantized network.

    `name` is the ONNX node's. `scale` and `zero_point` are those of the 8-bit
    result, `low` and `high` the real values that its range covers, `saturation`
    the share (0 to 1) of values on calibration images that are stored as an end
    of the range, a ReLU's zero apart. `sqnr_db` is the layer's own: its result
    against that of the float layer on the same 8-bit input, infinite where they
    are equal. Times are seconds on one thread, of this operator and of the float
    network's operators in its place. None: not known, or there is none, as a
    layer kept in float has no scale.
    """

    name: str
    operator: str
    primitive: str | None = None
    tile: str | None = None
    scale: float | None = None
    zero_point: int | None = None
    low: float | None = None
    high: float | None = None
    saturation: float | None = None
    sqnr_db: float | None = None
    estimated_seconds: float | None = None
    float_estimated_seconds: float | None = None
    measured_seconds: float | None = None
    float_measured_seconds: float | None = None

    @property
    def how(self) -> str:
        """The primitive with its tile: `winograd 4x4`."""
        return " ".join(part for part in (self.primitive, self.tile) if part) or "-"

    @property
    def int8(self) -> bool:
        """Whether the result is quantized."""
        return self.scale is not None


COLUMNS = tuple(field.name for field in fields(LayerRow))


@dataclass(frozen=True)
class LayerReport:
    """The rows in order of execution, and what holds for the network: text or number by name, for people.

    `slower`, `estimate` and `accumulated` are those of `QuantizationReport`.
    """

    model: str
    layers: tuple[LayerRow, ...]
    facts: Mapping[str, str | float | int | None]
    wanted_sqnr_db: float | None = None
    float_layers: tuple[str, ...] = ()
    slower: tuple[str, ...] = ()
    estimate: tuple[float, float] | None = None
    accumulated: tuple[Accumulated, ...] = ()

    @property
    def gain(self) -> float | None:
        """How many times as fast as the float network it is estimated to be; None where that is not known."""
        return self.estimate[0] / self.estimate[1] if self.estimate and self.estimate[1] else None

    @property
    def keep_float(self) -> str:
        """The layers kept in float as options of the command line; empty without such."""
        return keep_float_option(self.float_layers)

    @property
    def measured(self) -> bool:
        """Whether any operator was timed."""
        return any(row.measured_seconds is not None for row in self.layers)


def keep_float_option(names: Sequence[str]) -> str:
    """Layers as options that keep them in float: `--keep-float /conv1 --keep-float /fc`.

    Each has an option of its own, which may hold commas.
    """
    return " ".join(f"--keep-float {shlex.quote(name)}" for name in names)


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
        "layers": [{key: _finite(value) for key, value in asdict(row).items()} for row in report.layers],
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json_text(report: LayerReport) -> str:
    return json.dumps(json_data(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[LayerReport], str]] = {
    ".csv": csv_text,
    ".json": _json_text,
    ".html": render_page,
}


# Files ---------------------------------------------------------------------------------------------


def check_paths(paths: Iterable[Path]) -> None:
    """SecateurError for a report that could not be written in the end: known before the work is done."""
    seen: set[Path] = set()
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise SecateurError(f"--report {path}: the suffix tells the format: {', '.join(FORMATS)}")
        if path.is_dir():
            raise SecateurError(f"--report {path}: is a folder")
        if not path.parent.is_dir():
            raise SecateurError(f"--report {path}: there is no folder {path.parent}")
        if path.resolve() in seen:
            raise SecateurError(f"--report {path} is given twice")
        seen.add(path.resolve())


def write_reports(report: LayerReport, paths: Sequence[Path]) -> None:
    """Writes the report in the format that each suffix tells; SecateurError as `check_paths`."""
    check_paths(paths)
    texts = [FORMATS[path.suffix.lower()](report) for path in paths]
    for path, text in zip(paths, texts, strict=True):
        _replace(path, text)


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
