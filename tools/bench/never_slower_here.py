"""Whether a pruned network is ever slower than before, by this machine's clock.

    python -m secateur.tools.bench.never_slower_here [--model FILE.onnx] [--rates 10,50,90] [--costs T.json]

At every rate the optimizer takes as many of the multiply-accumulates away, at the least importance (L1) that
its counts can lose, and uniform pruning takes that share of the filters of every group. All three networks
are compiled and take turns on one thread; a row stays in `never_slower.json`, so that an interrupted run goes
on. By the cost model, for every board: `never_slower.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secateur.codegen.targets.host import host
from secateur.ir.channels import Channels, find_channels
from secateur.ir.graph import Graph
from secateur.ir.support.atomic import write_whole
from secateur.model import read
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.prune.criteria.criterion import Evidence, Ranking
from secateur.passes.prune.criteria.registry import rankings
from secateur.passes.prune.options import Recipe
from secateur.passes.prune.problem import BudgetError
from secateur.passes.prune.remove import Gone, remove
from secateur.passes.prune.search import Material, Search
from secateur.prepare import cost_table
from secateur.tools.bench.never_slower import uniform
from secateur.tools.bench.report import machine
from secateur.tools.bench.turns import Turn, model_turns

MODEL = Path(__file__).parents[2] / "examples" / "fashion" / "resnet20.onnx"
FILE = "never_slower.json"
NOISE = 0.03
"""Of a network's time: what two artifacts of one network may differ by on a quiet machine."""


@dataclass(frozen=True)
class Row:
    """Quiet seconds of runs in turn, at a rate in percent; `ours` is None where no counts go that far."""

    percent: int
    whole: float
    uniform: float
    ours: float | None

    @property
    def ratios(self) -> tuple[float, float | None]:
        """Times over the whole network's: uniform pruning's and ours."""
        return self.uniform / self.whole, None if self.ours is None else self.ours / self.whole


class Networks:
    """The pruned networks of a model, by rate in percent."""

    def __init__(self, model: Path, costs: Path | None) -> None:
        self.whole = Canonicalize(share=False).run(read(model))
        self._channels: Channels = find_channels(self.whole)
        self._ranked: dict[str, Ranking] = dict(rankings("l1", Evidence(self.whole, self._channels.groups)))
        table = cost_table(host(), costs=costs)
        self._search = Search(self.whole, Recipe(macs=1.0, criterion="l1"), table, Material())

    def ours(self, percent: int) -> Graph | None:
        """At the least loss; None where no counts go that far."""
        self._search.recipe = Recipe(macs=1 - percent / 100, criterion="l1")
        try:
            return self._search.best().graph
        except BudgetError:
            return None

    def uniform(self, percent: int) -> Graph:
        """That share of every group's filters taken."""
        gone: Gone = {
            group.name: self._ranked[group.name].gone(group.size - uniform(group.size, percent)).tolist()
            for group in self._channels.groups
            if group.name in self._ranked
        }
        return remove(self.whole, gone, self._channels)


def measured(networks: Networks, percent: int, costs: Path | None, rounds: int) -> Row:
    """A rate's row."""
    ours = networks.ours(percent)
    pruned = [networks.uniform(percent), *([ours] if ours is not None else [])]
    whole, flat, *rest = model_turns([networks.whole.clone(), *pruned], costs, rounds)
    return Row(percent, whole.quiet, flat.quiet, _quiet(rest))


def _quiet(turns: Sequence[Turn]) -> float | None:
    return turns[0].quiet if turns else None


def text(rows: Sequence[Row]) -> str:
    """A line a rate, and the worst of both ways."""
    lines = ["| rate | whole | uniform, L1 | ours |", "| --- | --- | --- | --- |"]
    for row in rows:
        flat, ours = row.ratios
        shown = "-" if ours is None else f"{ours:.3f}"
        lines.append(f"| {row.percent} % | {row.whole * 1e3:.3f} ms | {flat:.3f} | {shown} |")
    reached = [(ratio, row.percent) for row in rows if (ratio := row.ratios[1]) is not None]
    worst = [("uniform", max((row.ratios[0], row.percent) for row in rows))]
    worst += [("ours", max(reached))] if reached else []
    said = "; ".join(f"{name} {ratio:.3f} at {percent} %" for name, (ratio, percent) in worst)
    return "\n".join([*lines, "", f"worst: {said}; within noise up to {1 + NOISE:g}"])


def main(
    model: Annotated[Path, typer.Option(help="A float ONNX model.")] = MODEL,
    rates: Annotated[str, typer.Option(help="In percent, with commas, or from-to.")] = "10,25,50,75,90",
    costs: Annotated[Path | None, typer.Option(help="A table of `secateur profile --prune`.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each network.")] = 60,
    out: Annotated[Path, typer.Option(help="Folder of the rows.")] = Path("build/bench-never-slower"),
) -> None:
    """Time a network pruned at each rate beside the whole one; exit code 1 where ours is slower."""
    console, file = Console(stderr=True), out / FILE
    out.mkdir(parents=True, exist_ok=True)
    known = [Row(**row) for row in json.loads(file.read_text())["rows"]] if file.exists() else []
    missing = [p for p in percents(rates) if p not in {row.percent for row in known}]
    networks = Networks(model, costs) if missing else None
    for percent in missing:
        assert networks is not None
        known.append(measured(networks, percent, costs, rounds))
        console.print(text(known[-1:]).splitlines()[2], soft_wrap=True)
        found = {"machine": machine([]), "model": str(model), "rows": [asdict(row) for row in known]}
        write_whole(file, (json.dumps(found, indent=1) + "\n").encode())
    rows = sorted((r for r in known if r.percent in percents(rates)), key=lambda row: row.percent)
    print(text(rows))
    if any(row.ratios[1] is not None and row.ratios[1] > 1 + NOISE for row in rows):
        raise typer.Exit(1)


def percents(rates: str) -> list[int]:
    """`10,25` and `1-90` as numbers."""
    found: list[int] = []
    for part in rates.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


if __name__ == "__main__":
    typer.run(main)
