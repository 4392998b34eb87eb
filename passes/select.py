"""Selection: a primitive and layouts for every operator.

    %1 = nn.conv(%0, %w) {...} : tensor<1x64x56x56xf32>
 -> %1 = prim.conv(%0, %w) {..., primitive = "winograd4", operand_layouts = ["NCHW16c", "NCHW"],
                            workspace = 331776} : tensor<1x64x56x56xf32, NCHW16c>

The objective is the sum of the operators' times and of the layout conversions,
where a value is converted to a layout once, however many users want it. It is
minimized exactly: one variable for each operator (its choice) and one for each
value (the set of layouts it is made available in), so that every cost is a
table over two variables, and `elimination.minimize` does the rest.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar

import numpy as np

from secateur.ir.choice import Choice, CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.opdef import lookup
from secateur.ir.stages import READ, SELECTED, Stage
from secateur.ir.types import ROW_MAJOR, Layout

from .base import Pass
from .elimination import LARGEST_TABLE, Table, TooWideError, descend, minimize

Available = frozenset[Layout]


def _is_constant(value: Value) -> bool:
    return value.producer is not None and value.producer.name == "nn.constant"


@dataclass
class _Problem:
    """A graph's selection as variables and cost tables."""

    graph: Graph
    costs: CostTable
    sizes: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    options: dict[Operator, tuple[Choice, ...]] = field(default_factory=dict)
    _of_operator: dict[Operator, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for op in self.graph.operators:
            if op.name != "nn.constant":
                self.options[op] = _undominated(self.costs.choices(op))
                self._of_operator[op] = self._variable([c.seconds for c in self.options[op]])
        for value in self.graph.values():
            if not _is_constant(value):
                self._add_value(value)

    def _variable(self, costs: Sequence[float], start: int = 0) -> int:
        self.sizes.append(len(costs))
        self.start.append(start)
        self.tables.append(Table((len(self.sizes) - 1,), np.array(costs)))
        return len(self.sizes) - 1

    def _add_value(self, value: Value) -> None:
        """The variable "layouts in which `value` is available", tied to its producer and its users."""
        states = _subsets(self._layouts(value))
        is_output = any(value is out for out in self.graph.outputs)
        costs = [math.inf if is_output and ROW_MAJOR not in s else 0.0 for s in states]
        variable = self._variable(costs, start=len(states) - 1)  # every layout: whatever users want is there
        self._tie_producer(value, variable, states)
        for user in set(value.users):
            wants = [self._wants(user, choice, value) for choice in self.options[user]]
            rows = [[0.0 if wanted <= state else math.inf for state in states] for wanted in wants]
            self.tables.append(Table((self._of_operator[user], variable), np.array(rows)))

    def _tie_producer(self, value: Value, variable: int, states: Sequence[Available]) -> None:
        if value.producer is None:
            costs = np.array([self._make(value, ROW_MAJOR, s) for s in states])
            self.tables.append(Table((variable,), costs))
            return
        made = [c.result_layout for c in self.options[value.producer]]
        rows = [[self._make(value, layout, s) for s in states] for layout in made]
        self.tables.append(Table((self._of_operator[value.producer], variable), np.array(rows)))

    def _make(self, value: Value, made: Layout, state: Available) -> float:
        """Seconds to have `value` in every layout of `state`, computed in `made`."""
        if made not in state:
            return math.inf
        return sum(self.costs.conversion(value.type, made, layout) for layout in state if layout != made)

    def _layouts(self, value: Value) -> set[Layout]:
        """Every layout in which `value` may be made or wanted."""
        wanted = {
            w for user in set(value.users) for c in self.options[user] for w in self._wants(user, c, value)
        }
        made = {c.result_layout for c in self.options[value.producer]} if value.producer else {ROW_MAJOR}
        return wanted | made | {ROW_MAJOR}

    @staticmethod
    def _wants(user: Operator, choice: Choice, value: Value) -> Available:
        pairs = zip(user.operands, choice.operand_layouts, strict=True)
        return frozenset(layout for operand, layout in pairs if operand is value)

    def solve(self, limit: int) -> dict[Operator, Choice]:
        try:
            values = minimize(self.sizes, self.tables, limit)
        except TooWideError as error:
            warnings.warn(f"selection is not exact, but a local optimum: {error}", stacklevel=2)
            values = descend(self.sizes, self.tables, self.start)
        return {op: self.options[op][values[v]] for op, v in self._of_operator.items()}


def _undominated(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The fastest choice for each combination of layouts; no other can be part of an optimum."""
    best: dict[tuple[tuple[Layout, ...], Layout], Choice] = {}
    for choice in sorted(choices, key=lambda c: c.seconds):
        best.setdefault((choice.operand_layouts, choice.result_layout), choice)
    return tuple(best.values())


def _subsets(layouts: set[Layout]) -> list[Available]:
    ordered = sorted(layouts, key=lambda layout: layout.name)
    return [frozenset(c) for size in range(1, len(ordered) + 1) for c in combinations(ordered, size)]


def _decide(op: Operator, choice: Choice) -> None:
    """Writes the choice into the operator, which becomes its `prim.` twin."""
    op.definition = lookup("prim." + op.name.split(".", 1)[1])
    op.attributes["primitive"] = choice.primitive
    op.attributes["operand_layouts"] = tuple(layout.name for layout in choice.operand_layouts)
    if choice.workspace:
        op.attributes["workspace"] = choice.workspace
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


def select(graph: Graph, costs: CostTable, limit: int = LARGEST_TABLE) -> Graph:
    """A copy of `graph` with every operator's primitive and layouts chosen by `costs`.

    Warns where that would need a table of more than `limit` entries, and gives a local optimum.
    """
    graph = graph.clone()
    for op, choice in _Problem(graph, costs).solve(limit).items():
        _decide(op, choice)
    return graph


@dataclass(frozen=True)
class Select(Pass):
    """Chooses a primitive and layouts for every operator, by the cost table of the target."""

    name: ClassVar[str] = "select"
    takes: ClassVar[Stage] = READ
    gives: ClassVar[Stage] = SELECTED

    costs: CostTable | None = field(default=None, compare=False, repr=False, metadata={"option": False})

    def run(self, graph: Graph) -> Graph:
        if self.costs is None:
            raise SecateurError("pass select needs a target's cost table; name a target (--target)")
        return select(graph, self.costs)
