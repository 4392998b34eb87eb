"""Plans of one network to compare: the selector's, and those of choosers that see one operator at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from secateur.ir.choice import CostTable
from secateur.ir.graph import Graph, Operator
from secateur.passes.layout import insert_conversions
from secateur.passes.memory.memory import Memory, arena_report
from secateur.passes.select.baselines import greedy, single
from secateur.passes.select.footprint import costs as costs_of
from secateur.passes.select.graphs import problem_of
from secateur.passes.select.problem import Plan
from secateur.passes.select.select import decided
from secateur.passes.select.solver import Solver

CHOSEN, GREEDY, SINGLE = "chosen", "greedy", "single"


@dataclass(frozen=True)
class Contender:
    """A plan by `kind` (CHOSEN, GREEDY, SINGLE); where `plan` is None, there is none within the limit.

    Predicted seconds on one core, and bytes of arena as placed. `family` is the primitive that a plan of
    kind SINGLE has wherever it fits.
    """

    kind: str
    plan: Plan | None = None
    seconds: float = float("inf")
    arena: int = 0
    family: str = ""


class Plans:
    """The plans of a fused graph whose types are row-major."""

    def __init__(self, graph: Graph, costs: CostTable) -> None:
        self.graph = graph
        self._found = problem_of(graph, costs)

    def selected(self, plan: Plan) -> Graph:
        """The graph with a plan written into it."""
        return decided(self.graph, self._found.decisions(plan))

    @cached_property
    def frontier(self) -> tuple[Contender, ...]:
        """The selector's plans by rising arena and falling seconds."""
        points = [self._contender(CHOSEN, s.plan) for s in Solver(self._found.problem).frontier()]
        kept: list[Contender] = []
        for point in sorted(points, key=lambda p: (p.arena, p.seconds)):
            if not kept or point.seconds < kept[-1].seconds:
                kept.append(point)
        return tuple(kept)

    def limits(self, between: int) -> list[int | None]:
        """No limit, up to `between` arenas of the frontier by falling bytes, and the least possible one."""
        arenas = [point.arena for point in self.frontier]
        return [None, *(arenas[i] for i in spread(len(arenas), between))]

    def at(self, limit: int | None) -> tuple[Contender, ...]:
        """The contenders within a limit that the selector keeps."""
        chosen = [p for p in self.frontier if limit is None or p.arena <= limit][-1]
        problem = self._found.problem
        plan = greedy(problem, limit)
        family, uniform = single(problem, self.families, limit) or ("", None)
        return (chosen, self._contender(GREEDY, plan), self._contender(SINGLE, uniform, family))

    @property
    def alone(self) -> dict[str, float]:
        """Predicted seconds of the plans that have one primitive wherever it fits, without a limit."""
        plans = {family: greedy(self._found.problem, family=family) for family in self.families}
        return {f: costs_of(self._found.problem, p).seconds for f, p in plans.items() if p is not None}

    @property
    def families(self) -> Sequence[str]:
        """The primitives of convolutions."""
        pairs = zip(self._found.operators, self._found.choices, strict=True)
        return sorted({choice.primitive for op, choices in pairs if _convolves(op) for choice in choices})

    def _contender(self, kind: str, plan: Plan | None, family: str = "") -> Contender:
        if plan is None:
            return Contender(kind)
        seconds = costs_of(self._found.problem, plan).seconds
        arena = arena_report(Memory().run(insert_conversions(self.selected(plan)))).peak
        return Contender(kind, plan, seconds, arena, family)


def _convolves(op: Operator) -> bool:
    return "conv" in op.name


def spread(count: int, between: int) -> list[int]:
    """Of the numbers below `count`, falling: up to `between` evenly spread ones but the last, and 0."""
    inner = {round((count - 1) * (i + 1) / (between + 1)) for i in range(between)}
    return sorted({0, *(i for i in inner if i < count - 1)}, reverse=True)
