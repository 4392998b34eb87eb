"""A knapsack of filters in the manner of HALP.

Shen et al., "Structural Pruning via Latency-Saliency Knapsack", 2022.

Filters of a group go eight at a time. Each eight is worth its Taylor importance and costs the time, or the
multiplications, that it adds with all other groups whole; the set worth most within the budget is kept. What
groups cost together is not known to the knapsack, so its budget is lowered until the network keeps the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from secateur.codegen.targets.find import find
from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph
from secateur.ir.onnx_writer import to_onnx
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.prune.criteria.criterion import Evidence
from secateur.passes.prune.criteria.registry import rankings
from secateur.passes.prune.curves import Curve, ranked, transferred
from secateur.passes.prune.linear.moments import Data
from secateur.passes.prune.optimize import Optimizer
from secateur.passes.prune.remove import remove
from secateur.passes.prune.weighing import Pair, weighed
from secateur.prepare import cost_table
from secateur.train.gradients import gradients

from . import fashion
from .ask import Ask
from .uniform import whole

EIGHT = 8
IMAGES = 2000
"""Training images whose gradients say what a filter is worth."""
LOWERED = 0.99

Cost = Callable[[dict[int, int]], float]


def pruned_by_knapsack(model: Path, ask: Ask, output: Path) -> None:
    """Prunes for the asked share of multiplications, or of time by the target's cost table."""
    graph = whole(model)
    found = _curves(graph)
    cost = _cost(graph, found, ask)
    limit = ask.share * cost({})
    knapsack = Knapsack(found, cost)
    budget = limit
    while cost(counts := knapsack.filled(budget)) > limit:
        budget *= LOWERED
    gone = {found[i].group.name: list(found[i].gone(kept)) for i, kept in counts.items()}
    output.write_bytes(to_onnx(remove(graph, gone)).SerializeToString())


class Knapsack:
    """Groups by their curves, and what each of their counts costs with the others whole."""

    def __init__(self, found: Sequence[Curve], cost: Cost) -> None:
        self.kept = [_multiples(curve.group.size) for curve in found]
        costs = [np.array([cost({i: kept}) for kept in counts]) for i, counts in enumerate(self.kept)]
        self.least = cost({}) - sum(float(np.ptp(of)) for of in costs)
        self.tables = [
            Pair((i,), curve.loss[counts], of - of.min())
            for i, (curve, counts, of) in enumerate(zip(found, self.kept, costs, strict=True))
        ]

    def filled(self, budget: float) -> dict[int, int]:
        """How many channels of each group to keep."""
        answer = weighed([len(kept) for kept in self.kept], self.tables, budget - self.least)
        return {i: kept[v] for i, (kept, v) in enumerate(zip(self.kept, answer.values, strict=True))}


def _multiples(size: int) -> list[int]:
    """All channels, and the multiples of eight below."""
    return [size, *range((size - 1) // EIGHT * EIGHT, 0, -EIGHT)]


def _curves(graph: Graph) -> tuple[Curve, ...]:
    """Of each group, by Taylor importance on training images."""
    channels = find_channels(graph)
    shown = fashion.training().part(torch.arange(IMAGES))
    images = Data(tuple({graph.inputs[0].name: image[None].numpy()} for image in shown.images))
    evidence = Evidence(graph, channels.groups, images, gradients(shown))
    return ranked(channels, rankings("taylor", evidence))


def _cost(graph: Graph, found: Sequence[Curve], ask: Ask) -> Cost:
    """What the network costs with so many channels kept of some groups, by their numbers."""
    fused = Fuse().run(graph.clone())
    row = find(ask.target)
    over = tuple(transferred(tuple(found), find_channels(fused).groups).values())
    assert len(over) == len(found), "fusion keeps the groups of this network"
    optimizer = Optimizer(fused, over, cost_table(row, costs=ask.costs))
    if ask.measure == "time":
        return optimizer.seconds
    return lambda counts: float(sum(op.macs for op in optimizer.extents.pruned(counts).operators))
