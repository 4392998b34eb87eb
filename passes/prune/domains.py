"""The variables that counts depend on: a group's count, and the sum of the counts along an axis of several.

What reads a concatenation of many groups depends on how many channels there are, not on whose. So a sum
is a variable of its own, tied to its terms one after the other: prefixes are shared, and a DenseNet, where
each layer reads everything before it, is a chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod

import numpy as np

from secateur.ir.graph import Operator, Value

from .extents import Extents, Point
from .weighing import Pair

Groups = tuple[int, ...]

FEW = 1024
"""Combinations of counts up to which an operator's groups are looked at one by one."""


@dataclass(frozen=True)
class State:
    """A value of a variable: the counts that it stands for and, of a sum, that sum; or the branch that goes.

    Of a sum the counts are one way to have it.
    """

    counts: tuple[tuple[int, int], ...] = ()
    sums: tuple[tuple[Groups, int], ...] = ()
    gone: tuple[int, ...] = ()


@dataclass(eq=False)
class Domains:
    """Variables in order of their making: first one a group, then one a branch (it stays, it goes), then
    sums, and what others reserve; `tables` tie sums to their terms."""

    extents: Extents
    candidates: Sequence[Sequence[int]]
    states: list[list[State]] = field(default_factory=list)
    tables: list[Pair] = field(default_factory=list)
    _sums: dict[Groups, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, counts in enumerate(self.candidates):
            self.states.append([State(((number, count),)) for count in counts])
            self._sums[(number,)] = number
        for number in range(len(self.extents.branches.all)):
            self.states.append([State(), State(gone=(number,))])

    @property
    def sizes(self) -> list[int]:
        """How many states each variable has."""
        return list(map(len, self.states))

    def reserved(self, sizes: Iterable[int]) -> int:
        """The first of variables of these sizes, which mean nothing here: sums made later follow them."""
        first = len(self.states)
        self.states += [[State()] * size for size in sizes]
        return first

    def branch(self, number: int) -> int:
        """The variable of a branch."""
        return len(self.candidates) + number

    def of_operator(self, op: Operator) -> tuple[int, ...]:
        """The variables that an operator's cost depends on."""
        return self._and(self._variables((*op.operands, *op.results), wide=op), self.extents.branches.of(op))

    def of_operands(self, operands: Iterable[tuple[Operator, int]]) -> tuple[int, ...]:
        """The variables that the sizes of operands depend on, and whether they are read."""
        read = list(operands)
        branches = {number for op, _ in read for number in self.extents.branches.of(op)}
        return self._and(self._variables(op.operands[port] for op, port in read), branches)

    def of_value(self, value: Value) -> tuple[int, ...]:
        """The variables that a value's size depends on."""
        around = self.extents.branches.around(value.producer) if value.producer else ()
        return self._and(self._variables((value,)), around)

    def of_tensor(self, value: Value) -> tuple[int, ...]:
        """The variables on which the bytes of a value depend, and whether they are its own."""
        return self._and(self.of_value(value), self.extents.branches.sharing(value))

    def _and(self, variables: tuple[int, ...], branches: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted({*variables, *map(self.branch, branches)}))

    def points(self, variables: Sequence[int]) -> Iterator[Point]:
        """For each combination of the variables' states, in the order of an array over them, the counts."""
        for states in product(*(self.states[v] for v in variables)):
            # Groups of their own come last: what a sum says of them is one way of several.
            ordered = sorted(states, key=lambda s: not s.sums)
            counts = {group: count for state in ordered for group, count in state.counts}
            gone = frozenset(number for state in states for number in state.gone)
            yield Point(counts, dict(pair for state in ordered for pair in state.sums), gone)

    def shape(self, variables: Sequence[int]) -> tuple[int, ...]:
        return tuple(len(self.states[v]) for v in variables)

    def are_few(self, groups: Iterable[int]) -> bool:
        """Whether these groups are looked at one by one."""
        return prod(len(self.candidates[g]) for g in set(groups)) <= FEW

    def _variables(self, values: Iterable[Value], wide: Operator | None = None) -> tuple[int, ...]:
        axes = {groups: v for v in values for groups in self.extents.of(v)}
        single = {g for groups in axes for g in groups if len(groups) == 1}
        joint = [groups for groups in axes if len(groups) > 1 and not set(groups) <= single]
        all_groups = single.union(*axes)
        if self.are_few(all_groups):
            return tuple(sorted(all_groups))
        if not joint:
            return self._of_many(sorted(single), axes, wide)
        loose = [g for groups in joint for g in groups if self._each(axes[groups], groups) is None]
        sums = [self._sum(groups) for groups in joint if not set(groups) & set(loose)]
        return tuple(sorted({*single, *loose, *sums}))

    def _of_many(
        self, single: list[int], axes: dict[Groups, Value], wide: Operator | None
    ) -> tuple[int, ...]:
        """Of an operator that joins many groups: the largest sum alone, if combinations are too many."""
        widest = max(axes, key=len, default=())
        if wide is None or len(widest) < 2 or set(widest) != set(single):
            return tuple(single)
        return tuple(single) if self._each(axes[widest], widest) is None else (self._sum(widest),)

    def _each(self, value: Value, groups: Groups) -> int | None:
        return self.extents.each(value, groups)

    def _sum(self, groups: Groups) -> int:
        """The variable of the sum of the groups' counts."""
        if groups not in self._sums:
            before, last = self._sum(groups[:-1]), groups[-1]
            ways: dict[int, State] = {}
            pairs = list(product(self.states[before], self.states[last]))
            for a, b in pairs:
                counts = (*a.counts, *b.counts)
                ways.setdefault(self._total(counts), State(counts, ((groups, self._total(counts)),)))
            totals = sorted(ways)
            self._sums[groups] = len(self.states)
            self.states.append([ways[t] for t in totals])
            self._tie(before, last, [totals.index(self._total((*a.counts, *b.counts))) for a, b in pairs])
        return self._sums[groups]

    @staticmethod
    def _total(counts: Iterable[tuple[int, int]]) -> int:
        return sum(count for _, count in counts)

    def _tie(self, before: int, last: int, places: Sequence[int]) -> None:
        """Forbids all but the sum of each pair of terms."""
        variables = (before, last, len(self.states) - 1)
        shape = self.shape(variables)
        cost = np.full((shape[0] * shape[1], shape[2]), np.inf)
        cost[np.arange(len(places)), places] = 0.0
        self.tables.append(Pair(variables, cost.reshape(shape), np.zeros(shape)))
