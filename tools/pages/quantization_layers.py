"""From what the pass says of each layer, and what was selected and timed, to the rows of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .quantization_rows import LayerReport, LayerRow
from .quantization_times import Timed, by_rows, of_rows

if TYPE_CHECKING:
    from secateur.passes.quantize.report import QuantizationReport, Row

Measured = Sequence[tuple[str, str, float]]
"""(label, operator, seconds) of each operator of an artifact, as `quantization_times.medians` gives them."""


@dataclass(frozen=True)
class Times:
    """The operators of the int8 and the float network as selected, and as measured where they were."""

    chosen: Sequence[Timed]
    real: Sequence[Timed]
    measured: Measured = ()
    real_measured: Measured = ()


def layer_report(
    model: str,
    report: QuantizationReport,
    times: Times,
    facts: Mapping[str, str | float | int | None],
    wanted_sqnr_db: float | None,
) -> LayerReport:
    """One row for each operator of the quantized network; `report.rows` and `times.chosen` both list them."""
    chosen = times.chosen
    real = by_rows(chosen, ((t.nodes, t.seconds) for t in times.real))
    measured = of_rows(chosen, times.measured)
    real_measured = by_rows(chosen, ((label.split("+"), s) for label, _, s in times.real_measured))
    columns = zip(report.rows, chosen, real, measured, real_measured, strict=True)
    rows = tuple(_layer(*column) for column in columns)
    facts = {**facts, **totals(rows)}
    known = (report.float_layers, report.slower, report.estimate, report.accumulated, report.tiles)
    return LayerReport(model, rows, facts, wanted_sqnr_db, *known)


def _layer(
    row: Row, timed: Timed, real: float | None, measured: float | None, real_measured: float | None
) -> LayerRow:
    return LayerRow(
        row.name,
        row.operator,
        timed.primitive,
        row.tile or None,
        row.scale,
        row.zero_point,
        row.low,
        row.high,
        row.saturated,
        row.sqnr,
        timed.seconds,
        real,
        measured,
        real_measured,
    )


def totals(rows: Sequence[LayerRow]) -> dict[str, float]:
    """Sums over the layers of every time that is known."""

    sums = {
        f"{kind}_{how}_seconds": sum(getattr(row, f"{prefix}{how}_seconds") or 0.0 for row in rows)
        for how in ("estimated", "measured")
        for kind, prefix in (("float", "float_"), ("int8", ""))
    }
    return {name: seconds for name, seconds in sums.items() if seconds}
