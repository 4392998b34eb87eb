"""Pruning: channels that matter least go, until the network costs no more than it may.

    %y = nn.conv(%x, %w) : tensor<1x64x56x56xf32>
 -> %y = nn.conv(%x, %w) {pruned = [3, 17, ...]} : tensor<1x64x56x56xf32>    where it only decides
 -> %y = nn.conv(%x, %w) : tensor<1x48x56x56xf32>

A criterion ranks the units of every group; the optimizer chooses how many of each group stay, with
primitives and layouts, so that the least importance is lost within the limit; what goes is removed from
every constant; and the weights behind it are solved for anew on calibration data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from secateur.ir.choice import CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph

from ..framework.base import Pass
from .branches import bypass
from .decisions import decide
from .options import Options
from .report import PruningReport
from .search import Material
from .spaces import best

Listener = Callable[[PruningReport], object]


def ignored(_: PruningReport) -> None:
    """Listens to no report."""


@dataclass(frozen=True, kw_only=True)
class Prune(Options, Pass):
    """Removes the channels that matter least, within a limit on time, multiplications, weights or loss.

    Its options are declared in `options.py`. Stands between `canonicalize` and `fuse`. `material` (data and
    its labels), `costs`, and who listens to the report are handed in by the compiler.
    """

    name: ClassVar[str] = "prune"

    material: Material = field(
        default_factory=Material, compare=False, repr=False, metadata={"option": False}
    )
    costs: CostTable | None = field(default=None, compare=False, repr=False, metadata={"option": False})
    listen: Listener = field(default=ignored, compare=False, repr=False, metadata={"option": False})

    @property
    def tolerance(self) -> float:
        """A pruned answer is of the same order as the real one; `max_drop` says more."""
        return 1.0

    def run(self, graph: Graph) -> Graph:
        if self.costs is None:
            raise SecateurError("pass prune needs a cost table; it runs for a target")
        recipe = self if self.remove or self.space != "auto" else replace(self, space="standard")
        search, found, spaces = best(graph, recipe, self.costs, self.material)
        self.listen(replace(search.report(found), spaces=spaces))
        if self.remove:
            return found.graph
        decide(search.graph, found.gone, search.channels)
        bypass(search.graph, found.bypassed)
        return search.graph
