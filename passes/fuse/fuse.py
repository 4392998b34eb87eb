"""Fusion: fewer operators, each doing more before it stores its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.rewrite import Rule, rewrite
from secateur.ir.stages import READ, Stage
from secateur.ir.support.words import known_names

from ..canonicalize.constants import holds_integers
from ..canonicalize.joins import split_joins
from ..framework.base import Pass
from ..integer.integer import make_integer
from . import affine, composites, epilogues, padding, transposed

LEVELS = ("none", "conservative", "standard")

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
RULES: tuple[Rule, ...] = tuple(rule for phase in PHASES["standard"] for rule in phase)


TOLERANCE = {"none": 0.0, "conservative": 1e-5, "standard": 1e-4}
INTEGER_TOLERANCE = 0.05
"""Of a quantized network: near a tie, a sum rounded in float32 and an exact one differ by an integer."""


@dataclass(frozen=True)
class Fuse(Pass):
    """Folds batch norm, scales and padding into convolutions, and element-wise operators into epilogues.

    `level=none` leaves operators as they are; `conservative` computes the same
    roundings as before; `standard` also rewrites weights and replaces expanded
    activations, and in a quantized network makes operators between dequantize and
    quantize compute with integers. Concatenations too wide for one kernel are split
    at every level.
    """

    name: ClassVar[str] = "fuse"
    takes: ClassVar[Stage] = READ
    gives: ClassVar[Stage] = READ

    level: str = "standard"

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise SecateurError(f"pass fuse: unknown level '{self.level}'{known_names(self.level, LEVELS)}")

    @property
    def tolerance(self) -> float:
        return TOLERANCE[self.level]

    def tolerance_on(self, graph: Graph) -> float:
        rounds = self.level == "standard" and holds_integers(graph)
        return INTEGER_TOLERANCE if rounds else self.tolerance

    def run(self, graph: Graph) -> Graph:
        for rules in PHASES[self.level]:
            rewrite(graph, rules)
        if self.level == "standard":
            make_integer(graph)
        split_joins(graph)
        graph.remove_dead()
        return graph
