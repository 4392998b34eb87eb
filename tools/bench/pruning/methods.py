"""The methods that are compared: each makes a pruned model of the trained one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import secateur
from secateur import Pruning
from secateur.ir.support.units import Share

from .ask import Ask, Make
from .fashion import CALIBRATION
from .knapsack import pruned_by_knapsack
from .simplifier import pruned_by_onnxsim
from .uniform import pruned_alike


@dataclass(frozen=True)
class Method:
    """A row: what it is called, whether it looks at images, and how it prunes.

    `soft` names the criterion by which filters are chosen anew before each epoch, from the whole network on;
    without training there is no such row. `taught` networks learn from the whole one's answers too.
    `untrained` rows are only for users who do not train.
    """

    name: str
    images: bool
    make: Make
    soft: str = ""
    taught: bool = False
    untrained: bool = False

    @property
    def learns(self) -> bool:
        """Whether it is more than its network, which then stands in another row too."""
        return bool(self.soft) or self.taught


def _ours(**options: object) -> Make:
    def make(model: Path, ask: Ask, output: Path) -> None:
        limit = {"macs": {"macs": ask.share}, "time": {"latency": Share(ask.share)}}[ask.measure]
        pruning = Pruning(**limit, **options)  # type: ignore[arg-type]
        secateur.prune(model, pruning, output, ask.target, costs=ask.costs)

    return make


def _depgraph(model: Path, ask: Ask, output: Path) -> None:
    from .depgraph import pruned

    output.write_bytes(pruned(model, ask.share).SerializeToString())


_IMAGES = str(CALIBRATION)
METHODS: tuple[Method, ...] = (
    Method("ours, aggressive", True, _ours(data=_IMAGES, space="aggressive")),
    Method("DepGraph", False, _depgraph),
    Method("knapsack (HALP)", True, pruned_by_knapsack),
    Method("ours", True, _ours(data=_IMAGES, space="standard")),
    Method("uniform L1", False, pruned_alike("l1")),
    Method("FPGM", False, pruned_alike("fpgm")),
    Method("SFP", False, pruned_alike("l2"), soft="l2"),
    Method("onnxsim", False, pruned_by_onnxsim),
    Method("ours, aggressive, taught", True, _ours(data=_IMAGES, space="aggressive"), taught=True),
    Method("uniform L1, repaired", True, pruned_alike("l1", repaired=True), untrained=True),
    Method("ours, by weights", False, _ours(criterion="l2", space="standard"), untrained=True),
    Method("ours, not repaired", True, _ours(data=_IMAGES, space="standard", repair=False), untrained=True),
)
"""In this order, seed by seed, so that a comparison that is interrupted has compared the most it could."""
