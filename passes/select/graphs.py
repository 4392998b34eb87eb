"""A graph and a target's cost table as a selection problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from secateur.ir.choice import Choice, CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.types import ROW_MAJOR, Layout

from ..memory.arena import align
from .problem import Plan, Problem, Sharing, Step, Way

Toll = Callable[[Operator, Choice], float]
_SHARING = {"view": Sharing.VIEW, "join": Sharing.JOIN}


@dataclass(frozen=True, eq=False)
class GraphProblem:
    """The problem of a graph; step i is `operators[i]`, its way j is `choices[i][j]`."""

    problem: Problem
    operators: tuple[Operator, ...]
    choices: tuple[tuple[Choice, ...], ...]

    def decisions(self, plan: Plan) -> list[tuple[Operator, Choice]]:
        """The choice that a plan makes for each operator."""
        chosen = (options[way] for options, way in zip(self.choices, plan, strict=True))
        return list(zip(self.operators, chosen, strict=True))


def problem_of(graph: Graph, costs: CostTable, toll: Toll | None = None) -> GraphProblem:
    """The problem of choosing for every operator of a graph with row-major types.

    `toll` is what a choice adds to a sum that has a limit; an infinite one forbids the choice.
    Constants are no values of the problem: they lie in the artifact in whatever form a primitive wants.
    Operands that are constant are left out of the ways too. SecateurError where an operator has no choice
    left.
    """
    operators = tuple(op for op in graph.operators if op.name != "nn.constant")
    values = [v for v in graph.values() if not v.is_constant]
    numbers = {v: i for i, v in enumerate(values)}
    choices = [costs.choices(op) for op in operators]
    options = [_options(op, found, toll) for op, found in zip(operators, choices, strict=True)]
    steps = tuple(
        Step(_numbers(op.operands, numbers), _numbers(op.results, numbers), tuple(way for _, way in kept))
        for op, kept in zip(operators, options, strict=True)
    )
    picked = tuple(tuple(found[i] for i, _ in kept) for found, kept in zip(choices, options, strict=True))
    layouts = _layouts(steps, len(values), _numbers([*graph.inputs, *graph.outputs], numbers))
    bytes = tuple(
        {layout: v.type.with_layout(Layout(layout)).bytes for layout in layouts[i]}
        for i, v in enumerate(values)
    )
    conversions = {
        (i, a, b): costs.conversion(v.type, Layout(a), Layout(b))
        for i, v in enumerate(values)
        for a in layouts[i]
        for b in layouts[i]
        if a != b
    }
    ends = (_numbers(graph.inputs, numbers), _numbers(graph.outputs, numbers))
    return GraphProblem(Problem(steps, bytes, conversions, *ends, ROW_MAJOR.name), operators, picked)


def _numbers(values: Iterable[Value], numbers: dict[Value, int]) -> tuple[int, ...]:
    return tuple(numbers[v] for v in values if v in numbers)


def _options(op: Operator, choices: Sequence[Choice], toll: Toll | None) -> list[tuple[int, Way]]:
    """The ways to compute an operator that may be part of an answer, with the numbers of their choices."""
    ways = [(number, _way(op, c, toll(op, c) if toll else 0.0)) for number, c in enumerate(choices)]
    allowed = [(number, way) for number, way in ways if way.toll < math.inf]
    if not allowed:
        raise SecateurError(f"{op.called}: every primitive that it could have is forbidden")
    return undominated(allowed)


def _way(op: Operator, choice: Choice, toll: float) -> Way:
    dynamic = [i for i, v in enumerate(op.operands) if not v.is_constant]
    wants = tuple(choice.operand_layouts[i].name for i in dynamic)
    in_place = tuple(p for p, i in enumerate(dynamic) if _may_overwrite(op, choice, i))
    sharing = _SHARING.get(choice.primitive, Sharing.NONE)
    makes, seconds = choice.result_layout.name, choice.seconds
    workspace = choice.workspace if not choice.streamed else align(choice.workspace) + align(choice.streamed)
    return Way(choice.primitive, wants, makes, seconds, workspace, toll, in_place, sharing)


def _may_overwrite(op: Operator, choice: Choice, index: int) -> bool:
    """Whether the kernel reads the operand in step with the result, and both have the same elements in
    memory, laid out as chosen."""
    if (
        len(op.results) != 1
        or index not in op.definition.elementwise(len(op.operands))
        or index in choice.keeps
    ):
        return False
    operand, result = op.operands[index].type, op.result.type
    laid = choice.operand_layouts[index], choice.result_layout
    return (operand.shape, operand.dtype, laid[0]) == (result.shape, result.dtype, laid[1])


def undominated(ways: Sequence[tuple[int, Way]]) -> list[tuple[int, Way]]:
    """The numbered ways that no other with the same layouts and sharing matches in all costs."""
    kept: list[tuple[int, Way]] = []
    for number, way in sorted(ways, key=lambda w: (w[1].seconds, w[1].workspace, w[1].toll)):
        if not any(_no_worse(other, way) for _, other in kept):
            kept.append((number, way))
    return sorted(kept, key=lambda w: w[0])


def _no_worse(other: Way, way: Way) -> bool:
    """Whether `other`, which is no slower, can stand for `way` in every plan."""
    same = (other.wants, other.makes, other.in_place, other.sharing) == (
        way.wants,
        way.makes,
        way.in_place,
        way.sharing,
    )
    return same and other.workspace <= way.workspace and other.toll <= way.toll


def _layouts(steps: Sequence[Step], count: int, ends: Iterable[int]) -> list[list[str]]:
    """Every layout in which each value may be made or wanted."""
    found: list[set[str]] = [set() for _ in range(count)]
    for value in ends:
        found[value].add(ROW_MAJOR.name)
    for step in steps:
        for way in step.ways:
            for value, layout in zip(step.operands, way.wants, strict=True):
                found[value].add(layout)
            for value in step.results:
                found[value].add(way.makes)
    return [sorted(layouts) for layouts in found]
