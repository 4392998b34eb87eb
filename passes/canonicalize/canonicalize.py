"""One form for equal computations: constants folded, equals merged, identities and dead code gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.graph import Graph
from secateur.ir.rewrite import rewrite

from ..framework.base import Pass
from ..options import CanonicalizeOptions
from . import identities, movement
from .constants import fold_constants
from .duplicates import merge_duplicates
from .joins import share_joins
from .transposes import move_transposes

RULES = identities.RULES + movement.RULES


@dataclass(frozen=True, kw_only=True)
class Canonicalize(CanonicalizeOptions, Pass):
    """Folds constants through the interpreter, merges equal operators, applies identities, moves transposes
    to where they cancel, removes dead code.

    `fold` limits the bytes of a folded constant that is larger than what it is computed from. Without `share`
    equal constants that have names stay apart, so that initializers are found again in what is written.
    """

    name: ClassVar[str] = "canonicalize"

    @property
    def tolerance(self) -> float:
        """Not zero: a folded transpose of weights changes the order in which a matrix product sums."""
        return 1e-5

    def run(self, graph: Graph) -> Graph:
        changed = True
        while changed:
            graph.remove_dead()
            changes = fold_constants(graph, self.fold) + merge_duplicates(graph, self.share)
            changes += share_joins(graph) + move_transposes(graph)  # before some become reshapes
            changed = changes + rewrite(graph, RULES).total() > 0
        graph.remove_dead()
        return graph
