"""The frontier of a network between time and memory: the plans that no other beats, and their texts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.options import Limits

if TYPE_CHECKING:
    from secateur.ir.choice import Choice
    from secateur.ir.graph import Graph, Operator
    from secateur.passes.select.select import Select
    from secateur.passes.select.solver import Solution

    from ..progress import Progress

Decisions = Sequence[tuple["Operator", "Choice"]]


@dataclass(frozen=True)
class Difference:
    """An operator computed otherwise than in the fastest plan; layouts read `operands -> result`."""

    index: int
    primitive: str
    layouts: str
    instead_of: str
    instead_of_layouts: str

    @property
    def text(self) -> str:
        """`direct for winograd4`; with layouts where these differ too."""
        if self.layouts == self.instead_of_layouts:
            return f"{self.primitive} for {self.instead_of}"
        return f"{self.primitive} {self.layouts} for {self.instead_of} {self.instead_of_layouts}"


@dataclass(frozen=True)
class Point:
    """A plan: `seconds` on one core by the cost table, bytes of arena as placed, and what compiles it.

    No plan of as little memory takes less than `bound` seconds; `doubt` says why that may be below `seconds`.
    """

    seconds: float
    arena: int
    pipeline: str
    differences: tuple[Difference, ...]
    bound: float
    doubt: str = ""


@dataclass(frozen=True)
class Frontier:
    """Points by rising arena and falling seconds; `operators` are (name, ONNX nodes) in order.

    Times are estimates, or measured (`tuned`), or those of the table in the file `costs`.
    """

    model: str
    target: str
    tuned: bool
    operators: tuple[tuple[str, str], ...]
    points: tuple[Point, ...]
    costs: str = ""

    @property
    def options(self) -> str:
        """What makes `compile` choose by the same times."""
        return "--tune" if self.tuned else f"--costs {shlex.quote(self.costs)}" if self.costs else ""

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why points may not be optimal; empty where the frontier is exact and complete."""
        return tuple(dict.fromkeys(point.doubt for point in self.points if point.doubt))


@dataclass(frozen=True)
class _Placed:
    """A plan of the solver's, with its arena."""

    seconds: float
    arena: int
    decisions: Decisions
    bound: float
    doubt: str


def frontier(
    graph: Graph,
    target: str,
    tune: bool,
    show: Progress,
    costs: Path | None = None,
    limits: Limits = Limits(),
) -> Frontier:
    """The frontier of a graph as read, on a target; SecateurError where an operator cannot be computed there.

    With `tune`, times are measured on this machine; with `costs` they are those of a table in a file.
    Every plan keeps `limits`.
    """
    from secateur.codegen.backends.registry import backend_of
    from secateur.codegen.targets.find import find
    from secateur.pipeline import limited
    from secateur.prepare import warn_of_estimates

    pipeline = limited(backend_of(find(target)).pipeline, limits)
    fused, select = _fused(graph, target, tune, costs, pipeline)
    plans = _undominated(_placed(fused, select, show))
    warn_of_estimates([select])
    fastest = plans[-1].decisions
    operators = tuple((op.name, op.loc) for op, _ in fastest)
    points = tuple(_point(p, fastest, pipeline) for p in plans)
    return Frontier(graph.name, target, tune, operators, points, str(costs or ""))


def _fused(graph: Graph, target: str, tune: bool, costs: Path | None, pipeline: str) -> tuple[Graph, Select]:
    """The graph as a pipeline hands it to `select`, and this pass with its costs."""
    from secateur.codegen.targets.find import find
    from secateur.passes.framework.manager import PassManager
    from secateur.passes.select.select import Select
    from secateur.prepare import prepare

    passes = prepare(pipeline, find(target), tune, costs=costs)
    (at,) = (i for i, step in enumerate(passes) if isinstance(step, Select))
    select = passes[at]
    assert isinstance(select, Select), "found as such"
    return PassManager(passes[:at]).run(graph).graph, select


def _placed(graph: Graph, select: Select, show: Progress) -> list[_Placed]:
    from secateur.passes.layout import insert_conversions
    from secateur.passes.memory.memory import Memory, arena_report
    from secateur.passes.select.select import decided, problem_within
    from secateur.passes.select.solver import Solver
    from secateur.passes.select.tolls import NOISE

    show("selecting", 0, 1)
    limit = select.limit
    found = problem_within(graph, select.allowed(graph), limit)
    solver = Solver(found.problem, limit.toll if limit else NOISE)
    solutions = solver.frontier(limit.value if limit else None)
    placed = []
    for done, solution in enumerate(solutions, 1):
        decisions = found.decisions(solution.plan)
        arena = arena_report(Memory().run(insert_conversions(decided(graph, decisions)))).peak
        bound = min(s.bound for s in solutions if s.costs.peak <= arena)
        placed.append(_Placed(solution.costs.seconds, arena, decisions, bound, _doubt(solution, arena)))
        show("placing", done, len(solutions))
    return placed


def _doubt(solution: Solution, arena: int) -> str:
    if solution.doubt or arena <= solution.costs.peak:
        return solution.doubt
    return "buffers were placed with gaps between them; others may fit together without"


def _undominated(plans: Iterable[_Placed]) -> list[_Placed]:
    """By rising arena; a plan whose buffers leave gaps may need as much as another that is faster."""
    kept: list[_Placed] = []
    for plan in sorted(plans, key=lambda p: (p.arena, p.seconds)):
        if not kept or plan.seconds < kept[-1].seconds:
            kept.append(plan)
    return kept


def _point(plan: _Placed, fastest: Decisions, pipeline: str) -> Point:
    from secateur.pipeline import limited

    text = limited(pipeline, Limits(memory=plan.arena))
    return Point(plan.seconds, plan.arena, text, differences(plan.decisions, fastest), plan.bound, plan.doubt)


def differences(decisions: Decisions, fastest: Decisions) -> tuple[Difference, ...]:
    """Where one plan computes an operator otherwise than another of the same graph."""
    rows = (
        Difference(i, choice.primitive, _layouts(op, choice), other.primitive, _layouts(op, other))
        for i, ((op, choice), (_, other)) in enumerate(zip(decisions, fastest, strict=True))
    )
    return tuple(
        row for row in rows if (row.primitive, row.layouts) != (row.instead_of, row.instead_of_layouts)
    )


def _layouts(op: Operator, choice: Choice) -> str:
    """The layouts of what is computed; those of constants are a matter of packing."""
    operands = [
        layout.name
        for v, layout in zip(op.operands, choice.operand_layouts, strict=True)
        if not v.is_constant
    ]
    return " ".join([*operands, "->", choice.result_layout.name])
