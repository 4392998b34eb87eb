"""What pruning did as one HTML page: channels a group, time a layer, and a table, with nothing to fetch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..report import amount, duration, shape_text
from .charts import (
    Axis,
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
from .curve import curve_of, epoch_text
from .prune_text import changed, gain_text, group_lost_text, lost_text, primitive_text, totals, verdict

if TYPE_CHECKING:
    from secateur.passes.prune.report import GroupRow, LayerRow, LayerState, PruningReport

_KINDS = ("before", "after")
_KEYS = tuple((kind, kind) for kind in _KINDS)
HEADINGS = ("primitive", "result before", "result after", "time before", "time after", "saved")
_TEXT_COLUMNS = 3


def group_chart(groups: Sequence[GroupRow]) -> Chart:
    """Channels of each group before and after, in the order of the network."""
    axis = axis_of(float(row.before) for row in groups)
    rows = tuple(
        ChartRow(short_name(row.name), row.name, pair(axis, row.before, row.after, _KINDS), _group_text(row))
        for row in groups
    )
    note = "Channels that go together, in the order of the network; what they lose is importance."
    return Chart("Channels", note, rows, axis.ticks(lambda v: f"{v:g}"), _KEYS)


def _group_text(row: GroupRow) -> str:
    if row.block:
        return f"{row.before} → 0, with its block"
    return f"{row.before} → {row.after}, {group_lost_text(row)} lost" if row.pruned else f"{row.before}"


def time_chart(layers: Sequence[LayerRow]) -> Chart:
    """Seconds of each layer that changed, those first that took longest."""
    known = changed(layers)
    axis = axis_of(s.seconds for row in known for s in (row.before, row.after) if s is not None)
    rows = tuple(_time_row(axis, row) for row in known)
    note = "One thread, on the target; layers that changed, those first that took longest."
    return Chart("Time", note, rows, time_ticks(axis), _KEYS)


def _time_row(axis: Axis, row: LayerRow) -> ChartRow:
    bars = pair(axis, _seconds(row.before), _seconds(row.after), _KINDS)
    return ChartRow(short_name(row.name), row.name, bars, _time_text(row))


def _seconds(state: LayerState | None) -> float | None:
    return None if state is None else state.seconds


def _time_text(row: LayerRow) -> str:
    known = [duration(state.seconds) for state in (row.before, row.after) if state is not None]
    return f"{' → '.join(known)} ({gain_text(row)})"


def charts(report: PruningReport) -> list[Chart]:
    """Those that have anything to show."""
    return [chart for chart in (group_chart(report.groups), time_chart(report.layers)) if chart.rows]


# The page ------------------------------------------------------------------------------------------


def _cells(row: LayerRow) -> list[Cell]:
    before, after = row.before, row.after
    saved = None if before is None or after is None else before.seconds - after.seconds
    primitive = primitive_text(row)
    return [
        (primitive, primitive),
        *(_shape(state) for state in (before, after)),
        *(cell(_seconds(state), duration) for state in (before, after)),
        cell(saved, lambda v: duration(v) if v >= 0 else f"-{duration(-v)}"),
    ]


def _shape(state: LayerState | None) -> Cell:
    return ("-", "") if state is None else (shape_text(state.shape), shape_text(state.shape))


def _facts(report: PruningReport) -> Iterator[tuple[str, str]]:
    if report.target:
        yield "target", report.target
    yield "judged by", report.criterion
    for name, before, after, gain in totals(report):
        yield name, f"{before} → {after} ({gain})"
    for row in report.blocks:
        lost = lost_text(row, report.importance)
        yield "block that goes", f"{row.name} ({', '.join(row.layers)}), {lost} of the importance lost"
    yield "that is", verdict(report)
    if report.importance:
        yield "importance", f"{amount(report.loss)} of {amount(report.importance)} lost"
    if report.epochs:
        yield "trained to", epoch_text(report.epochs[-1])


def render_page(report: PruningReport) -> str:
    """The page: self-contained HTML that follows the reader's light or dark theme."""
    table = LayerTable(HEADINGS, _TEXT_COLUMNS, [(row.name, _cells(row)) for row in report.layers])
    page = Charted(f"{report.model or 'A network'}, pruned", list(_facts(report)), charts(report), table)
    return render("prune_report.html.j2", page, report=report, curve=curve_of(report.epochs))
