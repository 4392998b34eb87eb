"""Selection: a primitive and layouts for every operator.

    %1 = nn.conv(%0, %w) {...} : tensor<1x64x56x56xf32>
 -> %1 = prim.conv(%0, %w) {..., primitive = "winograd4", operand_layouts = ["NCHW16c", "NCHW"],
                            workspace = 331776} : tensor<1x64x56x56xf32, NCHW16c>

The objective is the sum of the operators' times and of the layout conversions,
where a value is converted to a layout once, however many users want it; or,
under a limit on that time, the arena's peak. Beside those limits stands one on
accuracy, the sum of the error powers of the choices, or on size, the sum of the
bytes of packed weights. `solver.py` answers exactly; where a network is too
wide for that, selection warns and says how far from the optimum its plan is at most.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from secateur.ir.choice import Choice, CostTable, Storage
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.registry import lookup
from secateur.ir.support.units import duration_text, size_text

from ..framework.base import Pass
from ..layout import insert_conversions
from ..memory.memory import Memory, arena_report
from ..options import SelectOptions
from .forbidden import allowed
from .graphs import GraphProblem, problem_of
from .reaching import reach_where_possible
from .solver import ImpossibleError, Solution, Solver
from .storing import Coded, Streamed
from .strict import Strict, check_weights
from .sweeps import TIES
from .tolls import KEPT, NOISE, WEIGHTS, Limit, kept_duration


def _decide(op: Operator, choice: Choice) -> None:
    """Writes the choice into the operator, which becomes its `prim.` twin."""
    op.definition = lookup("prim." + op.name.split(".", 1)[1])
    op.attributes["primitive"] = choice.primitive
    op.attributes["operand_layouts"] = tuple(layout.name for layout in choice.operand_layouts)
    if choice.keeps:
        op.attributes["keeps"] = choice.keeps
    if choice.workspace:
        op.attributes["workspace"] = choice.workspace
    if choice.streamed:
        op.attributes["streamed"] = choice.streamed
    if choice.stored:
        for value in op.operands:
            if value.producer is not None and value.is_constant:
                value.producer.attributes["stored"] = choice.stored
    for result in op.results:
        result.type = result.type.with_layout(choice.result_layout)


def decided(graph: Graph, decisions: Iterable[tuple[Operator, Choice]]) -> Graph:
    """A copy of `graph` with a choice for each of its operators written into it."""
    chosen = dict(decisions)
    copy = graph.clone()
    for old, new in zip(graph.operators, copy.operators, strict=True):
        if old in chosen:
            _decide(new, chosen[old])
    return copy


def error_power(sqnr: float) -> float:
    """The relative error power at a signal-to-noise ratio in dB."""
    return float(10 ** (-sqnr / 10))


def solve(
    solver: Solver, memory: int | None = None, seconds: float | None = None, toll: float | None = None
) -> Solution:
    """The fastest plan within `memory` bytes, or with `seconds` and no `memory` the one of least memory.

    Its tolls sum to at most `toll`. Raises ImpossibleError, which names the nearest limit that can be
    met.
    """
    if memory is None and seconds is not None:
        return solver.smallest(seconds, toll)
    found = solver.fastest(memory, toll)
    if seconds is not None and found.costs.seconds > seconds * (1 + TIES):
        takes = f"takes {kept_duration(found.costs.seconds)}, more than {duration_text(seconds)}"
        doubt = f" ({found.doubt})" if found.doubt else ""
        within = "" if memory is None else f"within {size_text(memory)} "
        raise ImpossibleError(f"{within}the fastest plan {takes}{doubt}")
    return found


def select(
    graph: Graph,
    costs: CostTable,
    memory: int | None = None,
    seconds: float | None = None,
    limit: Limit | None = None,
) -> Graph:
    """A copy of `graph` with every operator's primitive and layouts chosen by `costs`.

    Limits are those of `solve`; the arena as the memory pass will place it keeps `memory` too. Warns where
    the plan may not be optimal.
    """
    found = problem_within(graph, costs, limit)
    solver, toll = Solver(found.problem, limit.toll if limit else NOISE), limit.value if limit else None
    if memory is None:
        solution = solve(solver, None, seconds, toll)
        _warn(solution, "s" if seconds is None else "bytes")
        return decided(graph, found.decisions(solution.plan))
    return _placeable(graph, found, solver, memory, seconds, toll)


def problem_within(graph: Graph, costs: CostTable, limit: Limit | None) -> GraphProblem:
    """The problem of a graph; choices only differ in a toll where there is a limit on it."""
    return problem_of(graph, costs, None if limit is None else limit.toll.of(costs))


def _placeable(
    graph: Graph,
    found: GraphProblem,
    solver: Solver,
    memory: int,
    seconds: float | None,
    toll: float | None,
) -> Graph:
    """The graph with a plan whose arena has at most `memory` bytes once its buffers have places.

    Buffers do not always fit together without gaps: then plans of less memory are tried.
    """
    bytes, smallest = memory, sys.maxsize
    while True:
        try:
            solution = solve(solver, bytes, seconds, toll)
        except ImpossibleError:
            if bytes == memory:
                raise
            gaps = f"the smallest arena found has {size_text(smallest)}, gaps between its buffers among them"
            raise ImpossibleError(f"nothing could be placed in {size_text(memory)}; {gaps}") from None
        selected = decided(graph, found.decisions(solution.plan))
        placed = arena_report(Memory().run(insert_conversions(selected))).peak
        if placed <= memory:
            _warn(solution, "s")
            return selected
        bytes, smallest = solution.costs.peak - 1, min(smallest, placed)


def _warn(solution: Solution, unit: str) -> None:
    if solution.doubt:
        value = solution.costs.seconds if unit == "s" else solution.costs.peak
        warnings.warn(
            f"selection may not be optimal: {solution.doubt}; this plan needs {value:g} {unit}, "
            f"no plan needs less than {solution.bound:g}",
            stacklevel=4,
        )


@dataclass(frozen=True, kw_only=True)
class Select(SelectOptions, Pass):
    """Chooses a primitive and layouts for every operator, by the cost table of the target.

    Within `memory` bytes of arena, `seconds` on one core, errors that add up to an SQNR of `sqnr` dB,
    `weights` bytes of constants in the artifact, where a `codec` may store them if one is named, or `kept`
    bytes of constants that are held in memory, while the others are decoded by that codec in each run.
    `without` is what is forbidden, an entry a line: `winograd6`, or `winograd6@conv1` at one ONNX node.
    `strict` forbids what spreads an infinity or NaN to results that do not depend on it.
    """

    name: ClassVar[str] = "select"

    costs: CostTable | None = field(default=None, compare=False, repr=False, metadata={"option": False})
    storage: Storage | None = field(default=None, compare=False, repr=False, metadata={"option": False})

    @property
    def limit(self) -> Limit | None:
        """The limit on what adds up."""
        if self.kept is not None:
            return Limit(KEPT, self.kept)
        if self.weights is not None:
            return Limit(WEIGHTS, self.weights)
        return None if self.sqnr is None else Limit(NOISE, error_power(self.sqnr))

    def allowed(self, graph: Graph) -> CostTable:
        """The costs of what may be chosen for the operators of a graph."""
        if self.costs is None:
            raise SecateurError("pass select needs a target's cost table; name a target (--target)")
        if self.strict:
            check_weights(graph)
        costs = Strict(self.costs) if self.strict else self.costs
        found = allowed(graph, costs, self.without.split("\n"))
        if not self.codec:
            return found
        if self.storage is None:
            raise SecateurError(
                "pass select: the target's artifacts hold constants as they are; name no codec"
            )
        kind = Streamed if self.kept is not None else Coded
        return kind(found, self.storage, self.codec)

    def run(self, graph: Graph) -> Graph:
        if self.costs is not None:
            graph = reach_where_possible(graph, self.costs)
        return select(graph, self.allowed(graph), self.memory, self.seconds, self.limit)
