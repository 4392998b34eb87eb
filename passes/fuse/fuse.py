"""Fusion: fewer operators, each doing more before it stores its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.graph import Graph
from secateur.ir.rewrite import Rule, rewrite

from ..canonicalize.constants import holds_integers
from ..canonicalize.joins import split_joins
from ..framework.base import Pass
from ..integer.integer import make_integer
from ..options import FuseOptions
from . import affine, closing, composites, epilogues, merging, opening, padding, transposed

# Composites come first, for their parts would become steps; then weights, for steps block them.
PHASES: dict[str, tuple[tuple[Rule, ...], ...]] = {
    "none": (),
    "conservative": (padding.RULES, epilogues.RULES),
    "standard": (
        composites.RULES,
        padding.RULES + affine.RULES,
        (affine.ALONE, *epilogues.RULES),
        transposed.RULES,
    ),
}
PHASES["aggressive"] = (
    composites.RULES,
    padding.RULES + affine.RULES + merging.RULES,
    *PHASES["standard"][2:],
)
RULES: tuple[Rule, ...] = tuple(rule for phase in PHASES["standard"] for rule in phase)


def fused_open(graph: Graph) -> Graph:
    """The graph fused as at level standard, but that sums of channels stay open; changes the graph."""
    for rules in PHASES["standard"]:
        rewrite(graph, rules)
    split_joins(graph)
    graph.remove_dead()
    return graph


TOLERANCE = {"none": 0.0, "conservative": 1e-5, "standard": 1e-4, "aggressive": 1e-4}
INTEGER_TOLERANCE = 0.05
"""Of a quantized network: near a tie, a sum rounded in float32 and an exact one differ by an integer."""


@dataclass(frozen=True, kw_only=True)
class Fuse(FuseOptions, Pass):
    """Folds batch norm, scales and padding into convolutions, and element-wise operators into epilogues.

    `level=none` leaves operators as they are; `conservative` computes the same
    roundings as before; `standard` also rewrites weights and replaces expanded
    activations, and in a quantized network makes operators between dequantize and
    quantize compute with integers. `aggressive` opens residual additions before (see
    the pass `open`), all or those of `blocks`, one name or pattern a line, and makes one
    of parallel convolutions where that saves work. Transposed convolutions whose windows tile
    the result become products that are spread over blocks, unless `spread=false`.
    At every level, sums that were opened are closed, and concatenations too wide for one
    kernel split.
    """

    name: ClassVar[str] = "fuse"

    @property
    def tolerance(self) -> float:
        return TOLERANCE[self.level]

    @property
    def _rewrites(self) -> bool:
        return self.level in ("standard", "aggressive")

    def tolerance_on(self, graph: Graph) -> float:
        if self._rewrites and holds_integers(graph):
            return INTEGER_TOLERANCE
        return max(self.tolerance, closing.TOLERANCE if closing.is_open(graph) else 0.0)

    def run(self, graph: Graph) -> Graph:
        if self.level == "aggressive":
            opening.open_sums(graph, self.blocks)
        closing.close_sums(graph)
        for rules in PHASES[self.level]:
            if self.spread or rules is not transposed.RULES:
                rewrite(graph, rules)
        if self._rewrites:
            make_integer(graph)
        split_joins(graph)
        graph.remove_dead()
        return graph
