"""The quantization report as one HTML page: three bar charts and a table, with nothing to fetch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..report import duration
from .charts import (
    Bar,
    Cell,
    Chart,
    Charted,
    ChartRow,
    LayerTable,
    axis_of,
    cell,
    pair,
    render,
    short_name,
    time_ticks,
)

if TYPE_CHECKING:
    from .quantization_rows import LayerReport, LayerRow


def _row(layer: LayerRow, bars: Sequence[Bar], text: str) -> ChartRow:
    return ChartRow(short_name(layer.name), f"{layer.name} ({layer.operator})", tuple(bars), text)


# Charts --------------------------------------------------------------------------------------------


def sqnr_text(sqnr_db: float | None) -> str:
    """`31.4 dB`, `exact`, or a dash."""
    if sqnr_db is None or math.isnan(sqnr_db):
        return "-"
    return f"{sqnr_db:.1f} dB" if math.isfinite(sqnr_db) else ("exact" if sqnr_db > 0 else "lost")


def sqnr_chart(layers: Sequence[LayerRow], wanted: float | None) -> Chart:
    """Signal over quantization noise, the worst layer first; exact results last."""
    known = sorted(
        ((row.sqnr_db, row) for row in layers if row.sqnr_db is not None and not math.isnan(row.sqnr_db)),
        key=lambda pair: pair[0],
    )
    axis = axis_of([*(value for value, _ in known), *([] if wanted is None else [wanted])])

    def kind(value: float) -> str:
        return "bad" if wanted is not None and value < wanted else "int8"

    rows = [_row(row, [axis.bar(0, value, kind(value))], sqnr_text(value)) for value, row in known]
    keys = () if wanted is None else (("int8", f"{wanted:g} dB or more"), ("bad", "less"))
    note = "Each layer's result against the float layer's on the same 8-bit input; the worst first."
    mark = None if wanted is None else axis.x(wanted)
    return Chart("SQNR", note, tuple(rows), axis.ticks(lambda v: f"{v:g} dB"), keys, mark)


def range_chart(layers: Sequence[LayerRow]) -> Chart:
    """The real values that each quantized result can take, in order of execution."""
    known = [(row.low, row.high, row) for row in layers if row.low is not None and row.high is not None]
    axis = axis_of(value for low, high, _ in known for value in (low, high))
    rows = [
        _row(row, [axis.bar(low, high, "int8")], f"{low:.4g} … {high:.4g}{_saturated(row)}")
        for low, high, row in known
    ]
    note = (
        "The real values that 256 levels cover, in order of execution; what lies outside ends up at an end."
    )
    return Chart("Ranges", note, tuple(rows), axis.ticks(lambda v: f"{v:g}"))


def _saturated(row: LayerRow) -> str:
    return f"; {row.saturation:.2%} at an end" if row.saturation else ""


def _times(row: LayerRow, measured: bool) -> tuple[float | None, float | None]:
    if measured:
        return row.float_measured_seconds, row.measured_seconds
    return row.float_estimated_seconds, row.estimated_seconds


def time_chart(layers: Sequence[LayerRow], measured: bool) -> Chart:
    """Seconds of each layer in the float and in the quantized network, the longest first."""
    timed = [(*_times(row, measured), row) for row in layers]
    known = [(f, q, row) for f, q, row in timed if f is not None or q is not None]
    known.sort(key=lambda entry: -max(entry[0] or 0.0, entry[1] or 0.0))
    axis = axis_of(value for f, q, _ in known for value in (f, q) if value is not None)
    rows = [_row(row, pair(axis, f, q, ("float", "int8")), _ratio(f, q)) for f, q, row in known]
    how = "Measured on this machine" if measured else "Estimated by the cost model"
    note = f"{how}, one thread; the longest first. Each layer above as float, below as compiled."
    keys = (("float", "float"), ("int8", "int8"))
    return Chart("Time", note, tuple(rows), time_ticks(axis), keys)


def _ratio(float_seconds: float | None, seconds: float | None) -> str:
    known = [duration(s) for s in (float_seconds, seconds) if s is not None]
    gain = f" ({float_seconds / seconds:.2f}x)" if float_seconds and seconds else ""
    return " → ".join(known) + gain


# The page ------------------------------------------------------------------------------------------


def charts(report: LayerReport) -> list[Chart]:
    """Those that have anything to show."""
    drawn = (
        sqnr_chart(report.layers, report.wanted_sqnr_db),
        range_chart(report.layers),
        time_chart(report.layers, report.measured),
    )
    return [chart for chart in drawn if chart.rows]


def _cells(row: LayerRow) -> list[Cell]:
    return [
        (row.operator, row.operator),
        (row.how, row.how),
        cell(row.scale, lambda v: f"{v:.4g}"),
        cell(row.zero_point, str),
        cell(row.low, lambda v: f"{v:.4g}"),
        cell(row.high, lambda v: f"{v:.4g}"),
        cell(row.saturation, lambda v: f"{v:.3%}"),
        cell(row.sqnr_db, sqnr_text),
        cell(row.estimated_seconds, duration),
        cell(row.float_estimated_seconds, duration),
        cell(row.measured_seconds, duration),
        cell(row.float_measured_seconds, duration),
    ]


_UNITS: dict[str, Callable[[Any], str]] = {
    "_db": lambda value: sqnr_text(value),
    "_seconds": duration,
    "_percent": lambda value: f"{value:.2f} %",
}


def fact(key: str, value: Any) -> tuple[str, str]:
    """`estimated_seconds` with 0.0012 as ("estimated", "1.20 ms")."""
    suffix = next((unit for unit in _UNITS if key.endswith(unit)), "")
    text = _UNITS[suffix](value) if suffix else str(value)
    return key.removesuffix(suffix).replace("_", " ").replace("sqnr", "SQNR"), text


HEADINGS = (
    "operator", "primitive", "scale", "zero point", "low", "high", "at an end", "SQNR",
    "estimated", "float, estimated", "measured", "float, measured",
)  # fmt: skip
_TEXT_COLUMNS = 2


def render_page(report: LayerReport) -> str:
    """The page: self-contained HTML that follows the reader's light or dark theme."""
    rows = [(row.name, _cells(row)) for row in report.layers]
    facts = [fact(key, value) for key, value in report.facts.items() if value is not None]
    table = LayerTable(HEADINGS, _TEXT_COLUMNS, rows)
    page = Charted(f"{report.model} in int8", facts, charts(report), table)
    return render("quantization_report.html.j2", page, report=report)
