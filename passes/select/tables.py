"""Least time without a limit on memory, as cost tables over two variables each.

One variable for each step (its way) and one for each value, or for several that
the same steps read (the set of layouts they are had in, see `wishes.py`): what is
live together does not matter here, so the tree that elimination works on may be
narrower than the schedule's path.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .elimination import Table
from .problem import Plan, Problem, Way
from .wishes import CALLER, Union, Wish, unions

Available = frozenset[str]


@dataclass(eq=False)
class Labelling:
    """A problem's variables and tables; variable i is step i's choice among `ways[i]`."""

    problem: Problem
    sizes: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    ways: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for i, step in enumerate(self.problem.steps):
            self.ways.append(self._fastest(i))
            self._variable([step.ways[w].seconds for w in self.ways[-1]])
        self._add_values()

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

    def _add_values(self) -> None:
        """A variable "layouts that are wished" for each union of wishes, tied to these and to producers."""
        makers = {v: i for i, step in enumerate(self.problem.steps) for v in step.results}
        found: dict[Union, tuple[int, list[Available]]] = {}
        for union in unions(self._wishes()):
            states = _subsets(union.layouts)
            variable = self._variable([0.0] * len(states), start=len(states) - 1)
            found[union] = (variable, states)
            for reader, ways in union.wishes:
                self._need(None if reader == CALLER else reader, ways, variable, states)
            if union.above is not None:
                above, wished = found[union.above]
                self._need(above, wished, variable, states)
            for value in union.values:
                self._add_costs(value, makers.get(value), variable, states)

    def _wishes(self) -> dict[int, list[Wish]]:
        """For each value that anyone reads, its readers with what each of their ways wishes."""
        wishes: dict[int, list[Wish]] = {}
        for i, step in enumerate(self.problem.steps):
            for value in dict.fromkeys(step.operands):
                wishes.setdefault(value, []).append((i, self._wanted(i, value)))
        for value in dict.fromkeys(self.problem.outputs):
            wishes.setdefault(value, []).append((CALLER, (frozenset({self.problem.external}),)))
        return wishes

    def _ways(self, step: int) -> list[Way]:
        return [self.problem.steps[step].ways[w] for w in self.ways[step]]

    def _wanted(self, reader: int, value: int) -> tuple[Available, ...]:
        """The layouts in which each way of a reader wants a value."""
        at = [i for i, v in enumerate(self.problem.steps[reader].operands) if v == value]
        return tuple(frozenset(way.wants[i] for i in at) for way in self._ways(reader))

    def _need(
        self, other: int | None, needed: Sequence[Available], variable: int, states: Sequence[Available]
    ) -> None:
        """Forbids states without what each value of variable `other` needs, or else the only need."""
        rows = np.array([[0.0 if need <= state else math.inf for state in states] for need in needed])
        self._tie(other, variable, rows)

    def _add_costs(self, value: int, maker: int | None, variable: int, states: Sequence[Available]) -> None:
        """Seconds to have a value in every layout of a state, by the layout in which it is made."""
        made = [self.problem.external] if maker is None else [w.makes for w in self._ways(maker)]
        rows = np.array([[self._seconds_to_have(value, layout, s) for s in states] for layout in made])
        self._tie(maker, variable, rows)

    def _tie(self, other: int | None, variable: int, rows: NDArray[np.float64]) -> None:
        table = Table((variable,), rows[0]) if other is None else Table((other, variable), rows)
        self.tables.append(table)

    def _seconds_to_have(self, value: int, made: str, state: Available) -> float:
        between = self.problem.conversions
        return sum(between.get((value, made, layout), math.inf) for layout in state if layout != made)


def _subsets(layouts: Iterable[str]) -> list[Available]:
    ordered = sorted(layouts)
    return [frozenset(c) for size in range(1, len(ordered) + 1) for c in combinations(ordered, size)]
