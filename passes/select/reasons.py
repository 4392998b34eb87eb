"""Why a plan has what it has: each operator's choice, and the best other primitive in its place."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.types import ROW_MAJOR, Layout


@dataclass(frozen=True)
class Reason:
    """An operator's choice and its runner-up, None where no other primitive computes the operator.

    `conversions` are the seconds of layout conversions that the runner-up would add (negative: save) in a
    plan otherwise the same; `seconds` of the choices themselves hold none.
    """

    choice: Choice
    runner_up: Choice | None = None
    conversions: float = 0.0

    @property
    def loss(self) -> float:
        """Seconds that the runner-up would add; infinite without one, negative where a limit keeps it out."""
        if self.runner_up is None:
            return math.inf
        return self.runner_up.seconds - self.choice.seconds + self.conversions


def reasons(graph: Graph, selected: Graph, costs: CostTable) -> list[Reason]:
    """A reason for each operator of `graph` but constants; `selected` is what selection made of it."""
    plan = _Plan(costs)
    pairs = list(zip(_computing(graph), _computing(selected), strict=True))
    plan.made.update((v, ROW_MAJOR) for v in graph.inputs)
    for v in graph.outputs:
        plan.wanted[v].append((None, ROW_MAJOR))
    for op, chosen in pairs:
        plan.note(op, _choice(costs.choices(op), chosen))
    return [plan.reason(op) for op, _ in pairs]


def _computing(graph: Graph) -> list[Operator]:
    return [op for op in graph.operators if op.name != "nn.constant"]


def _choice(choices: Sequence[Choice], chosen: Operator) -> Choice:
    """The choice that is written into an operator."""
    layouts, result = chosen["operand_layouts"], chosen.results[0].type.layout
    memory = (chosen.get("workspace", 0), chosen.get("streamed", 0))
    wanted = (chosen["primitive"], *memory, tuple(layouts), result)
    return next(
        c
        for c in choices
        if (c.primitive, c.workspace, c.streamed, tuple(x.name for x in c.operand_layouts), c.result_layout)
        == wanted
    )


@dataclass
class _Plan:
    """The layout that each value is made in, and who wants it in which."""

    costs: CostTable
    chosen: dict[Operator, Choice] = field(default_factory=dict)
    made: dict[Value, Layout] = field(default_factory=dict)
    wanted: dict[Value, list[tuple[Operator | None, Layout]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def note(self, op: Operator, choice: Choice) -> None:
        self.chosen[op] = choice
        self.made.update((v, choice.result_layout) for v in op.results)
        for value, layout in zip(op.operands, choice.operand_layouts, strict=True):
            self.wanted[value].append((op, layout))

    def reason(self, op: Operator) -> Reason:
        choice = self.chosen[op]
        before = self._conversions(op, choice)
        others = [c for c in self.costs.choices(op) if c.primitive != choice.primitive]
        rows = [Reason(choice, c, self._conversions(op, c) - before) for c in others]
        return min(rows, key=lambda row: row.loss, default=Reason(choice))

    def _conversions(self, op: Operator, choice: Choice) -> float:
        """Seconds to convert what an operator reads and makes, if it were computed by `choice`."""
        wants = list(zip(op.operands, choice.operand_layouts, strict=True))
        values = dict.fromkeys((*(v for v in op.operands if not v.is_constant), *op.results))
        total = 0.0
        for value in values:
            made = choice.result_layout if value in op.results else self.made[value]
            others = {layout for reader, layout in self.wanted[value] if reader is not op}
            layouts = others | {layout for v, layout in wants if v is value}
            total += sum(self.costs.conversion(value.type, made, layout) for layout in layouts - {made})
        return total
