"""The methods that are compared: each makes a pruned model of the trained one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import secateur
from secateur import Pruning
from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph
from secateur.ir.onnx_writer import to_onnx
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.prune.criteria.criterion import Evidence
from secateur.passes.prune.criteria.registry import rankings
from secateur.passes.prune.linear.moments import Data
from secateur.passes.prune.remove import Gone, remove
from secateur.passes.prune.repair.repair import repair
from secateur.passes.quantize.calibration.data import open_source
from secateur.train.soft import uniform

from .fashion import CALIBRATION

FINEST = 256
Make = Callable[[Path, float, Path, str], object]
"""Model, share of its multiplications that may be left, where the pruned model goes, target."""


@dataclass(frozen=True)
class Method:
    """A row: what it is called, whether it looks at images, and how it prunes."""

    name: str
    images: bool
    make: Make


def macs(graph: Graph) -> int:
    """Multiply-accumulates as the network is compiled."""
    return sum(op.macs for op in Fuse().run(Canonicalize().run(graph.clone())).operators)


def _ours(**options: object) -> Make:
    def make(model: Path, share: float, output: Path, target: str) -> None:
        secateur.prune(model, Pruning(macs=share, **options), output, target)  # type: ignore[arg-type]

    return make


def _uniform(repaired: bool) -> Make:
    """The same share of every group, by L1 norms."""

    def make(model: Path, share: float, output: Path, _target: str) -> None:
        graph = Canonicalize(share=False).run(secateur.read(model))
        gone = _uniform_units(graph, share)
        pruned = remove(graph, gone)
        if repaired:
            pruned = repair(graph, pruned, gone, Data(tuple(open_source(CALIBRATION, graph))))
        output.write_bytes(to_onnx(pruned).SerializeToString())

    return make


def _uniform_units(graph: Graph, share: float) -> Gone:
    channels, whole = find_channels(graph), macs(graph)
    ranked = rankings("l1", Evidence(graph, channels.groups))
    for step in range(FINEST):
        counts = uniform(channels, step / FINEST)
        gone = {name: ranked[name].gone(count).tolist() for name, count in counts.items() if count}
        if macs(remove(graph, gone)) <= share * whole:
            return gone
    raise ValueError(f"no rate leaves {share:.0%} of the multiplications")


def _depgraph(model: Path, share: float, output: Path, _target: str) -> None:
    from .depgraph import pruned

    output.write_bytes(pruned(model, share).SerializeToString())


_IMAGES = str(CALIBRATION)
METHODS: tuple[Method, ...] = (
    Method("uniform L1", False, _uniform(False)),
    Method("uniform L1, repaired", True, _uniform(True)),
    Method("DepGraph, one shot", False, _depgraph),
    Method("ours, by weights", False, _ours(criterion="l2")),
    Method("ours, not repaired", True, _ours(data=_IMAGES, repair=False)),
    Method("ours", True, _ours(data=_IMAGES)),
    Method("ours, aggressive", True, _ours(data=_IMAGES, space="aggressive")),
)
