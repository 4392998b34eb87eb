"""What pruning did, and what it could do, as tables and sentences for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..report import amount, duration, node_text, size
from ..tables import table

if TYPE_CHECKING:
    from secateur.ir.channels import Channels, Group
    from secateur.passes.prune.criteria.branches import Branch
    from secateur.passes.prune.report import (
        BlockRow,
        Figures,
        GroupRow,
        LayerRow,
        LayerState,
        PruningReport,
        SpaceRow,
    )


def table_text(report: PruningReport) -> str:
    """Groups that lost channels, layers that changed, the longest first, totals, and what they cost."""
    parts = [_blocks(report), _groups(report), _layers(report), _totals(report), verdict(report)]
    return "\n\n".join(part for part in parts if part)


# Blocks --------------------------------------------------------------------------------------------


def _blocks(report: PruningReport) -> str:
    cells = ((row.name, ", ".join(row.layers), lost_text(row, report.importance)) for row in report.blocks)
    heads = ("block that goes", "layers", "lost")
    return table(heads, cells, right=("lost",), shorten=("layers",)) if report.blocks else ""


# Groups --------------------------------------------------------------------------------------------


def _groups(report: PruningReport) -> str:
    rows = [row for row in report.groups if row.pruned]
    if not rows:
        return ""
    cells = ((row.name, row.before, row.after, group_lost_text(row)) for row in rows)
    text = table(
        ("group", "channels", "kept", "lost"),
        cells,
        right=("channels", "kept", "lost"),
        shorten=("group",),
    )
    whole = len(report.groups) - len(rows)
    return f"{text}\n({_counted(whole, 'other group')} whole)" if whole else text


def lost_text(row: GroupRow | BlockRow | PruningReport, importance: float | None) -> str:
    """The importance lost, as a share of all where that is known."""
    if importance:
        return f"{row.loss / importance:.2%}"
    return f"{row.loss:.3g}"


def group_lost_text(row: GroupRow) -> str:
    """Of the group's own importance; what goes with its block is lost there."""
    return "with its block" if row.block else lost_text(row, row.importance)


# Layers --------------------------------------------------------------------------------------------


def changed(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """Layers that are not as before, those first that took longest."""
    return sorted((row for row in rows if row.before != row.after), key=lambda row: -longest(row))


def longest(row: LayerRow) -> float:
    """Seconds before, or after where there was no such layer."""
    return max((state.seconds for state in (row.before, row.after) if state is not None), default=0.0)


def _layers(report: PruningReport) -> str:
    rows = changed(report.layers)
    if not rows:
        return ""
    cells = (
        (
            node_text(row.name),
            channels_text(row),
            *(duration(state.seconds) if state else None for state in (row.before, row.after)),
            gain_text(row),
            primitive_text(row),
        )
        for row in rows
    )
    text = table(
        ("layer", "channels", "before", "after", "gain", "primitive"),
        cells,
        right=("channels", "before", "after", "gain"),
        shorten=("layer",),
        spare=("primitive", "gain"),
    )
    same = [row.after for row in report.layers if row.before == row.after and row.after is not None]
    if not same:
        return text
    rest = duration(sum(state.seconds for state in same))
    return f"{text}\n({_counted(len(same), 'other')} as before: {rest})"


def channels_text(row: LayerRow) -> str:
    """What a layer makes, before and after: `64 -> 40`."""
    made = [str(_channels(state)) for state in (row.before, row.after) if state is not None]
    return " -> ".join(dict.fromkeys(made))


def _channels(state: LayerState) -> int:
    """The extent of the axis of channels; that of what has none counts as 1."""
    return state.shape[1] if len(state.shape) > 1 else 1


def gain_text(row: LayerRow) -> str:
    """How many times as fast; `gone` and `new` for what is on one side alone."""
    if row.before is None or row.after is None:
        return "gone" if row.after is None else "new"
    return f"{row.before.seconds / row.after.seconds:.2f}x" if row.after.seconds else "-"


def primitive_text(row: LayerRow) -> str:
    """`direct`, or `direct -> winograd4` where another is faster now."""
    names = [state.primitive for state in (row.before, row.after) if state is not None]
    return " -> ".join(dict.fromkeys(names))


# The network ---------------------------------------------------------------------------------------

Total = tuple[str, str, str, str]
"""What, before, after, and how many times less."""


def totals(report: PruningReport) -> list[Total]:
    """MACs, weights, arena and time of the network; time by the clock and accuracy where they are known."""
    before, after = report.before, report.after
    rows = [
        ("MACs", amount(before.macs), amount(after.macs), times(before.macs, after.macs)),
        ("weights", size(before.weights), size(after.weights), times(before.weights, after.weights)),
        ("arena", size(before.memory), size(after.memory), times(before.memory, after.memory)),
        ("time", duration(before.seconds), duration(after.seconds), times(before.seconds, after.seconds)),
    ]
    if report.clock is not None:
        whole, less = report.clock
        rows.append(("time by the clock", duration(whole), duration(less), times(whole, less)))
    if report.accuracy is not None:
        real, pruned = report.accuracy
        rows.append(("accuracy", f"{real:.2f} %", f"{pruned:.2f} %", f"{pruned - real:+.2f} points"))
    return rows


def times(before: float, after: float) -> str:
    """`2.10x less`; `as before`."""
    if before == after:
        return "as before"
    return f"{before / after:.2f}x less" if after else "-"


def _totals(report: PruningReport) -> str:
    return table(("network", "before", "after", ""), totals(report), right=("before", "after", ""))


def verdict(report: PruningReport) -> str:
    """One line: what became less, and what that cost."""
    if not report.blocks and not any(row.pruned for row in report.groups):
        return "nothing was removed: the network keeps the limits as it is"
    return f"{', '.join(_less(report.before, report.after))} for {', '.join(_costs(report))}"


def _less(before: Figures, after: Figures) -> Iterator[str]:
    yield f"{_factor(before.seconds, after.seconds)} less time"
    yield f"{_factor(before.macs, after.macs)} fewer MACs"


def _factor(before: float, after: float) -> str:
    return f"{before / after:.2f}x" if after else "infinitely"


def _costs(report: PruningReport) -> Iterator[str]:
    lost = lost_text(report, report.importance)
    share = f"{lost} of the importance" if report.importance else f"importance {lost}"
    yield f"{share} ({report.criterion})"
    if report.accuracy is not None:
        real, pruned = report.accuracy
        points = f"{real - pruned:.2f} points" if pruned < real else "no points"
        yield f"{points} of accuracy ({real:.2f} % -> {pruned:.2f} %)"
    if report.spaces:
        yield _spaces(report)
    if report.repaired:
        yield f"with {_counted(len(report.repaired), 'layer')} repaired"


def _spaces(report: PruningReport) -> str:
    """The space that was taken, and what the others would have lost."""
    (taken,) = (row for row in report.spaces if row.taken)
    others = [f"{row.name} {_would_lose(row, taken)}" for row in report.spaces if not row.taken]
    return f"by --space {taken.name} ({', '.join(others)})"


def _would_lose(row: SpaceRow, taken: SpaceRow) -> str:
    if row.loss is None or not taken.loss:
        return "cannot keep the limit" if row.loss is None else f"would lose {row.loss:.3g}"
    if row.loss == taken.loss:
        return "would lose as much"
    return f"would lose {row.loss / taken.loss:.2f}x as much"


def _counted(count: int, what: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{count} {what}{'s' * (count != 1)}"


# What may go ---------------------------------------------------------------------------------------


def explain_text(channels: Channels, branches: Sequence[Branch] = ()) -> str:
    """The groups of channels that go together, who makes and reads them; the blocks that may go whole; then
    what stays, and why."""
    from secateur.passes.prune.frozen import frozen_sentences

    count = sum(group.size for group in channels.groups)
    parts = [f"{_counted(len(channels.groups), 'group')}, {_counted(count, 'channel')} that may go:"]
    parts = [*parts, _explained(channels.groups)] if channels.groups else ["no channel can be removed"]
    if branches:
        blocks = _counted(len(branches), "block")
        parts += [f"{blocks} that may go whole, to what is added:", _branches(branches)]
    sentences = frozen_sentences(channels)
    if sentences:
        parts.append("\n".join(["What stays:", *(f"  {sentence}" for sentence in sentences)]))
    return "\n\n".join(parts)


def _branches(branches: Sequence[Branch]) -> str:
    cells = ((branch.name, ", ".join(branch.layers)) for branch in branches)
    return table(("added by", "layers"), cells, shorten=("added by", "layers"))


def _explained(groups: Sequence[Group]) -> str:
    rows = (
        (group.name, group.size, len(group.users), ", ".join(op.loc or op.name for op in group.makers[1:]))
        for group in groups
    )
    return table(
        ("group", "channels", "readers", "made by as well"),
        ((name, count, users, others or "-") for name, count, users, others in rows),
        right=("channels", "readers"),
        shorten=("group", "made by as well"),
    )
