"""The same share of every group of channels, as one criterion ranks them."""

from __future__ import annotations

from pathlib import Path

import secateur
from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph
from secateur.ir.onnx_writer import to_onnx
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.prune.criteria.criterion import Evidence
from secateur.passes.prune.criteria.registry import rankings
from secateur.passes.prune.linear.moments import Data
from secateur.passes.prune.remove import Gone, remove
from secateur.passes.prune.repair.repair import repair
from secateur.passes.quantize.calibration.data import open_source
from secateur.train.soft import uniform

from .ask import Ask, Make, macs
from .fashion import CALIBRATION

FINEST = 256


def pruned_alike(criterion: str, repaired: bool = False) -> Make:
    """The same share of every group, as the criterion ranks its channels."""

    def make(model: Path, ask: Ask, output: Path) -> None:
        graph = whole(model)
        gone = _least_rate(graph, criterion, ask.share)
        pruned = remove(graph, gone)
        if repaired:
            pruned = repair(graph, pruned, gone, Data(tuple(open_source(CALIBRATION, graph))))
        output.write_bytes(to_onnx(pruned).SerializeToString())

    return make


def whole(model: Path) -> Graph:
    """The network with its batch normalizations, every constant by its own name."""
    return Canonicalize(share=False).run(secateur.read(model))


def counts_of(model: Path, pruned: Path) -> dict[str, int]:
    """How many channels of each group of the model the pruned one has lost."""
    left = {group.name: group.size for group in find_channels(whole(pruned)).groups}
    groups = find_channels(whole(model)).groups
    return {g.name: g.size - left[g.name] for g in groups if left[g.name] < g.size}


def _least_rate(graph: Graph, criterion: str, share: float) -> Gone:
    channels, every = find_channels(graph), macs(graph)
    ranked = rankings(criterion, Evidence(graph, channels.groups))
    for step in range(FINEST):
        counts = uniform(channels, step / FINEST)
        gone = {name: ranked[name].gone(count).tolist() for name, count in counts.items() if count}
        if macs(remove(graph, gone)) <= share * every:
            return gone
    raise ValueError(f"no rate leaves {share:.0%} of the multiplications")
