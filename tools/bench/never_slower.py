"""Whether a pruned network is ever slower than before, by the cost model of every board.

    python -m secateur.tools.bench.never_slower [--model FILE.onnx] [--targets rpi4,...] [--step 1]

For every rate from 1 % to 90 % the optimizer takes as many of the multiply-accumulates away, at the least
importance (L1) that its counts can lose, and uniform pruning takes that share of the filters of every
group, as pruning without a model of time does. Times are those of the plans that selection makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.find import find
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Cpu
from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph
from secateur.model import read
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.prune.criteria.criterion import Evidence
from secateur.passes.prune.criteria.registry import rankings
from secateur.passes.prune.curves import Curve, ranked, transferred
from secateur.passes.prune.optimize import Budget, Optimizer
from secateur.passes.prune.problem import BudgetError
from secateur.tools.tables import table

MODEL = Path(__file__).parents[2] / "examples" / "digits" / "resnet20.onnx"
ROUNDING = 1e-9
"""Of a sum of times, as a share."""
HEADINGS = ("target", "whole", "uniform", "at", "slower rates", "backwards", "ours", "at")


@dataclass(frozen=True)
class Rate:
    """Times of the pruned network over that of the whole one; `ours` is None where no counts go that far."""

    percent: int
    uniform: float
    ours: float | None


@dataclass(frozen=True)
class Row:
    """A target's rates by rising percentage; `seconds` of the whole network."""

    target: str
    seconds: float
    rates: tuple[Rate, ...]

    @property
    def worst_uniform(self) -> Rate:
        return max(self.rates, key=lambda rate: rate.uniform)

    @property
    def worst_ours(self) -> Rate:
        return max((r for r in self.rates if r.ours is not None), key=lambda rate: rate.ours or 0.0)

    @property
    def never_slower(self) -> bool:
        """Whether the optimizer's counts are as fast as the whole network at every rate that they reach."""
        return all(rate.ours is None or rate.ours <= 1 + ROUNDING for rate in self.rates)

    @property
    def slower(self) -> int:
        """Rates at which uniform pruning makes the network slower."""
        return sum(rate.uniform > 1 for rate in self.rates)

    @property
    def backwards(self) -> float:
        """How much longer uniform pruning takes than at a lower rate, at most, as a ratio."""
        worst, fastest = 1.0, 1.0
        for rate in self.rates:
            worst, fastest = max(worst, rate.uniform / fastest), min(fastest, rate.uniform)
        return worst


def fused_with_curves(graph: Graph) -> tuple[Graph, tuple[Curve, ...]]:
    """What fusion makes of a graph as read, and the curves of its groups by their filters' L1 norms."""
    before = PassManager(tuple(parse_pipeline("canonicalize"))).run(graph).graph
    channels = find_channels(before)
    found = ranked(channels, rankings("l1", Evidence(before, channels.groups)))
    fused = PassManager(tuple(parse_pipeline("fuse"))).run(before).graph
    return fused, tuple(transferred(found, find_channels(fused).groups).values())


def measured(fused: Graph, curves: tuple[Curve, ...], target: str, rates: Iterable[int], most: int) -> Row:
    """A target's row."""
    row = find(target)
    optimizer = Optimizer(fused, curves, backend_of(row).costs(row), most)
    macs = sum(op.macs for op in fused.operators if op.name != "nn.constant")
    found = tuple(_rate(optimizer, macs, percent) for percent in rates)
    return Row(target, optimizer.before, found)


def _rate(optimizer: Optimizer, macs: int, percent: int) -> Rate:
    counts = {i: uniform(size, percent) for i, size in enumerate(optimizer.extents.sizes)}
    try:
        ours = optimizer.within(Budget(macs=macs * (100 - percent) // 100)).seconds / optimizer.before
    except BudgetError:
        ours = None
    return Rate(percent, optimizer.seconds(counts) / optimizer.before, ours)


def uniform(size: int, percent: int) -> int:
    """What uniform pruning keeps of a group."""
    return max(1, round(size * (100 - percent) / 100))


def text(rows: Iterable[Row]) -> str:
    """A row a target."""
    lines = (
        (
            row.target, f"{row.seconds * 1e3:.3f} ms",
            f"{row.worst_uniform.uniform:.3f}", f"{row.worst_uniform.percent} %",
            row.slower, f"{row.backwards:.3f}",
            f"{row.worst_ours.ours:.3f}", f"{row.worst_ours.percent} %",
        )
        for row in rows
    )  # fmt: skip
    return table(HEADINGS, lines, right=HEADINGS[1:])


def boards() -> list[str]:
    """Every target that is a processor."""
    return [name for name, row in TARGETS.items() if isinstance(row.machine, Cpu)]


def main(
    model: Annotated[Path, typer.Option(help="An ONNX model.")] = MODEL,
    targets: Annotated[str, typer.Option(help="Names with commas; default: every processor.")] = "",
    step: Annotated[int, typer.Option(min=1, help="From one rate to the next, in percent.")] = 1,
    most: Annotated[int, typer.Option(min=2, help="Counts of a group that are weighed.")] = 12,
) -> None:
    """Print each target's worst slowdown, of uniform pruning and of the optimizer's counts.

    Exit code 1 where those are slower than the whole network.
    """
    fused, curves = fused_with_curves(read(model))
    rows = []
    for target in targets.split(",") if targets else boards():
        rows.append(measured(fused, curves, target, range(1, 91, step), most))
        Console(stderr=True).print(f"{target}: done")
    print(text(rows))
    print("times over the whole network's; 'backwards': uniform pruning's time over that at a lower rate")
    if not all(row.never_slower for row in rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
