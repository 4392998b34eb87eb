"""Least time without a limit on memory, as cost tables over two variables each.

One variable for each step (its way) and one for each value (the set of layouts
it is made available in): what is live together does not matter here, so the
tree that elimination works on may be narrower than the schedule's path.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from ..elimination import Table
from .problem import Plan, Problem, Way

Available = frozenset[str]


@dataclass(eq=False)
class Labelling:
    """A problem's variables and tables; variable i is step i's choice among `ways[i]`."""

    problem: Problem
    sizes: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    ways: list[tuple[int, ...]] = field(default_factory=list)
    _readers: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for i, step in enumerate(self.problem.steps):
            self.ways.append(self._fastest(i))
            self._variable([step.ways[w].seconds for w in self.ways[-1]])
            for value in dict.fromkeys(step.operands):
                self._readers.setdefault(value, []).append(i)
        makers = {v: i for i, step in enumerate(self.problem.steps) for v in step.results}
        for value in range(len(self.problem.bytes)):
            self._add_value(value, makers.get(value))

    def plan(self, values: Sequence[int]) -> Plan:
        """The plan that an assignment of the variables means."""
        return tuple(ways[v] for ways, v in zip(self.ways, values, strict=False))

    def _fastest(self, step: int) -> tuple[int, ...]:
        """The fastest way for each combination of layouts; no other can be part of an optimum."""
        ways = self.problem.steps[step].ways
        best: dict[tuple[tuple[str, ...], str], int] = {}
        for number in sorted(range(len(ways)), key=lambda n: ways[n].seconds):
            best.setdefault((ways[number].wants, ways[number].makes), number)
        return tuple(sorted(best.values()))

    def _variable(self, costs: Sequence[float], start: int = 0) -> int:
        self.sizes.append(len(costs))
        self.start.append(start)
        self.tables.append(Table((len(self.sizes) - 1,), np.array(costs)))
        return len(self.sizes) - 1

    def _add_value(self, value: int, maker: int | None) -> None:
        """The variable "layouts in which the value is available", tied to its producer and its readers."""
        states = _subsets(self.problem.bytes[value])
        external = self.problem.external
        returned = value in self.problem.outputs
        costs = [math.inf if returned and external not in s else 0.0 for s in states]
        variable = self._variable(
            costs, start=len(states) - 1
        )  # every layout: whatever readers want is there
        made = [external] if maker is None else [w.makes for w in self._ways(maker)]
        rows = np.array([[self._seconds_to_have(value, layout, s) for s in states] for layout in made])
        self.tables.append(Table((variable,), rows[0]) if maker is None else Table((maker, variable), rows))
        for reader in self._readers.get(value, ()):
            wants = [self._wants(reader, w.wants, value) for w in self._ways(reader)]
            allowed = [[0.0 if wanted <= state else math.inf for state in states] for wanted in wants]
            self.tables.append(Table((reader, variable), np.array(allowed)))

    def _ways(self, step: int) -> list[Way]:
        return [self.problem.steps[step].ways[w] for w in self.ways[step]]

    def _seconds_to_have(self, value: int, made: str, state: Available) -> float:
        """Seconds to have a value in every layout of `state`, computed in `made`."""
        if made not in state:
            return math.inf
        between = self.problem.conversions
        return sum(between.get((value, made, layout), math.inf) for layout in state if layout != made)

    def _wants(self, reader: int, layouts: Sequence[str], value: int) -> Available:
        pairs = zip(self.problem.steps[reader].operands, layouts, strict=True)
        return frozenset(layout for v, layout in pairs if v == value)


def _subsets(layouts: Iterable[str]) -> list[Available]:
    ordered = sorted(layouts)
    return [frozenset(c) for size in range(1, len(ordered) + 1) for c in combinations(ordered, size)]
