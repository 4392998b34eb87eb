"""Staircases of a network's layers: what `secateur staircase` shows, and its texts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.ir.errors import SecateurError
from secateur.ir.support.words import listed

from ..report import duration, node_text
from ..tables import table

if TYPE_CHECKING:
    from secateur.costs.staircase import Staircase
    from secateur.ir.choice import CostTable
    from secateur.ir.graph import Graph, Operator

    from ..progress import Progress

COLUMNS = ("layer", "operator", "axis", "count", "seconds", "primitive", "keep", "cliff", "measured")
_SHOWN = 8  # counts that a row of the table names


@dataclass(frozen=True, eq=False)
class Staircases:
    """Of a model's layers on a target, in order; `costs` names the table of times, empty for estimates."""

    model: str
    target: str
    costs: str
    layers: tuple[Staircase, ...]


def staircases(
    graph: Graph, target: str, costs: Path | None, named: Sequence[str], axes: Sequence[str], show: Progress
) -> Staircases:
    """Of the layers of a graph as read that have one of these names, or all; SecateurError for another name.

    Layers that cost the same are asked for once.
    """
    from secateur.codegen.backends.registry import backend_of
    from secateur.codegen.targets.find import find
    from secateur.costs.staircase import FILTERS, layers, staircase
    from secateur.passes.framework.manager import PassManager
    from secateur.passes.prune.sizes import SizedCosts, channels_of, filters_of
    from secateur.passes.select.select import Select
    from secateur.prepare import cost_table, prepare

    row = find(target)
    passes = prepare(backend_of(row).pipeline, row)
    fuse = next(i for i, step in enumerate(passes) if isinstance(step, Select))
    fused = PassManager(passes[:fuse]).run(graph).graph
    wanted = chosen(layers(fused), named)
    table = cost_table(row, costs=costs)
    counts = [filters_of(op) if axis == FILTERS else channels_of(op) for op in wanted for axis in axes]
    tick = _counted(show, sum(counts))
    sized = SizedCosts(table)
    found = tuple(staircase(op, axis, sized, row, tick) for op in wanted for axis in axes)
    _warn(table)
    return Staircases(graph.name, target, str(costs or ""), found)


def chosen(layers: Sequence[Operator], named: Collection[str]) -> list[Operator]:
    """The layers that came from one of the ONNX nodes `named`; all of them where none is named."""
    if not layers:
        raise SecateurError("the model has no convolution and no product by a constant matrix")
    if not named:
        return list(layers)
    known = list(dict.fromkeys(part for op in layers for part in op.loc.split("+")))
    unknown = [name for name in named if not any(name in _names(op) for op in layers)]
    if unknown:
        raise SecateurError(f"--layer: there is no layer {listed(unknown, known)}")
    return [op for op in layers if set(named) & _names(op)]


def _names(op: Operator) -> set[str]:
    return {op.loc, *op.loc.split("+")}


def _counted(show: Progress, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        show("counts", done, total)

    return tick


def _warn(table: CostTable) -> None:
    from secateur.costs.measured import TableCosts

    if isinstance(table, TableCosts):
        table.warn()


# Texts ---------------------------------------------------------------------------------------------


def table_text(found: Staircases) -> str:
    """A row a layer: its count, its time, the counts worth keeping, and how bad a count may be."""
    rows = (
        (node_text(s.name), s.axis, s.full, duration(s.times[s.full]), len(s.cliffs), worst(s), kept_text(s))
        for s in found.layers
    )
    headings = ("layer", "axis", "count", "time", "cliffs", "worst", "worth keeping")
    right = ("count", "time", "cliffs", "worst")
    return table(headings, rows, right=right, shorten=("layer", "worth keeping"), spare=("axis", "cliffs"))


def worst(stairs: Staircase) -> str:
    """By how much a count takes longer than a larger one does, at most."""
    found = worst_of(stairs)
    return f"+{found:.1%}" if found > 0.0005 else "-"


def worst_of(stairs: Staircase) -> float:
    """The same as a share of the larger one's time."""
    share, fastest = 0.0, math.inf
    for count in reversed(stairs.counts):
        fastest = min(fastest, stairs.times[count])
        share = max(share, stairs.times[count] / fastest - 1) if fastest else share
    return share


def kept_text(stairs: Staircase) -> str:
    """The largest counts worth keeping, and how many smaller ones there are."""
    *rest, last = stairs.keep
    shown = [str(n) for n in (*rest[-_SHOWN + 1 :], last)][::-1]
    left = len(stairs.keep) - len(shown)
    return " ".join(shown) + (f" and {left} smaller" if left else "")


def steps_text(stairs: Staircase) -> str:
    """The steps of one layer, the last first, each with its reasons below."""
    lines = [f"{node_text(stairs.name)}: steps over {stairs.axis}, from {stairs.full} down"]
    for step in reversed(stairs.steps):
        share = f"{1 - step.seconds / step.after:.1%}"
        lines.append(f"{step.count:>6}  {duration(step.seconds)}  ({share} less than with one more)")
        lines += [f"{'':8}{reason}" for reason in step.reasons]
    if not stairs.steps:
        lines.append("        none: time grows with every channel")
    return "\n".join(lines)


def csv_text(found: Staircases) -> str:
    """A line for each count and primitive of each layer, under headings."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row for stairs in found.layers for row in _lines(stairs))
    return buffer.getvalue()


def _lines(stairs: Staircase) -> Iterator[tuple[Any, ...]]:
    kinds = set(stairs.keep), set(stairs.cliffs), stairs.measured
    for count in stairs.counts:
        for name, times in stairs.primitives.items():
            if count in times:
                marks = (int(count in kind) for kind in kinds)
                yield stairs.name, stairs.operator, stairs.axis, count, times[count], name, *marks


def json_data(found: Staircases) -> dict[str, Any]:
    """For JSON: each layer's times, steps with reasons, cliffs, and counts worth keeping."""
    return {
        "model": found.model,
        "target": found.target,
        "costs": found.costs or None,
        "layers": [_layer_data(stairs) for stairs in found.layers],
    }


def _layer_data(stairs: Staircase) -> dict[str, Any]:
    return {
        "layer": stairs.name,
        "operator": stairs.operator,
        "axis": stairs.axis,
        "counts": stairs.counts,
        "seconds": [stairs.times[count] for count in stairs.counts],
        "primitives": {
            name: [times.get(count) for count in stairs.counts] for name, times in stairs.primitives.items()
        },
        "estimates": [stairs.estimates.get(count) for count in stairs.counts] if stairs.estimates else None,
        "measured": sorted(stairs.measured),
        "keep": stairs.keep,
        "cliffs": stairs.cliffs,
        "worst_slowdown": worst_of(stairs),
        "steps": [
            {"count": s.count, "seconds": s.seconds, "after": s.after, "reasons": s.reasons}
            for s in stairs.steps
        ],
    }
