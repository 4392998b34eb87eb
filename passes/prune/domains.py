"""The variables that counts depend on: a group's count, and the sum of the counts along an axis of several.

What reads a concatenation of many groups depends on how many channels there are, not on whose. So a sum
is a variable of its own, tied to its terms one after the other: prefixes are shared, and a DenseNet, where
each layer reads everything before it, is a chain. A group that is concatenated twice counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from math import prod

import numpy as np

from secateur.ir.graph import Operator, Value

from .extents import Extents, Point, Sum
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
    sums: tuple[tuple[Sum, int], ...] = ()
    gone: tuple[int, ...] = ()


@dataclass(eq=False)
class Domains:
    """Variables in order of their making: first one a group, then one a branch (it stays, it goes), then
    sums, and what others reserve; `tables` tie sums to their terms."""

    extents: Extents
    candidates: Sequence[Sequence[int]]
    states: list[list[State]] = field(default_factory=list)
    tables: list[Pair] = field(default_factory=list)
    _sums: dict[Sum, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, counts in enumerate(self.candidates):
            self.states.append([State(((number, count),)) for count in counts])
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
        found = (zip(self.extents.of(v), self.extents.sums(v), strict=True) for v in values)
        axes = list(dict.fromkeys(chain.from_iterable(found)))
        single = {g for groups, _ in axes for g in groups if len(groups) == 1}
        joint = [(groups, total) for groups, total in axes if len(groups) > 1 and not set(groups) <= single]
        all_groups = single.union(*(groups for groups, _ in axes))
        if self.are_few(all_groups):
            return tuple(sorted(all_groups))
        widest, whole = max(axes, key=lambda axis: len(axis[0]), default=((), None))
        if wide is not None and whole is not None and len(widest) > 1 and all_groups == set(widest):
            return (self._sum(whole),)  # it joins many groups: the largest sum alone
        loose = {g for groups, total in joint for g in groups if total is None}
        sums = {self._sum(total) for groups, total in joint if total and not loose.intersection(groups)}
        return tuple(sorted({*single, *loose, *sums}))

    def _sum(self, of: Sum) -> int:
        """The variable of a sum of groups' counts."""
        if len(of) == 1:
            return of[0][0]
        if of not in self._sums:
            before, last = self._sum(of[:-1]), of[-1][0]
            pairs = [(*a.counts, *b.counts) for a, b in product(self.states[before], self.states[last])]
            reached = [sum(n * count for (_, n), (_, count) in zip(of, one, strict=True)) for one in pairs]
            totals = sorted(set(reached))
            ways = dict(zip(reversed(reached), reversed(pairs), strict=True))  # the first of each
            self._sums[of] = len(self.states)
            self.states.append([State(ways[t], ((of, t),)) for t in totals])
            self._tie(before, last, [totals.index(t) for t in reached])
        return self._sums[of]

    def _tie(self, before: int, last: int, places: Sequence[int]) -> None:
        """Forbids all but the sum of each pair of terms."""
        variables = (before, last, len(self.states) - 1)
        shape = self.shape(variables)
        cost = np.full((shape[0] * shape[1], shape[2]), np.inf)
        cost[np.arange(len(places)), places] = 0.0
        self.tables.append(Pair(variables, cost.reshape(shape), np.zeros(shape)))
