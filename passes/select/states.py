"""What of the past a step of the search must know, and what each way of a step makes of it.

Between two steps only values with readers to come matter (`values.py`). Values
whose bytes are shared stand in one column of the search's table, all others
each in its own, so that a step only looks at the columns of its operands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from typing import NamedTuple

from ..memory.arena import align
from .problem import Problem, Sharing, Step, Tensor, Way
from .sharing import Buffers, live_bytes, with_own, with_results, without
from .values import ValueState, born, kept_states, seconds_to_read


class ColumnState(NamedTuple):
    """The values of a column and the buffers that they lie in."""

    values: tuple[ValueState, ...]
    buffers: Buffers


class Outcome(NamedTuple):
    """One way of a step from one combination of columns: the columns after it and what it costs.

    `need` is the most bytes that the step's own columns and its workspace take at once.
    """

    after: tuple[ColumnState, ...]
    way: int
    seconds: float
    need: int
    toll: float


@dataclass(frozen=True, eq=False)
class Moment:
    """Step number `index` of a problem; the step after the last is that of reading the outputs."""

    problem: Problem
    index: int

    @cached_property
    def step(self) -> Step:
        steps = self.problem.steps
        return steps[self.index] if self.index < len(steps) else self.problem.closing

    @cached_property
    def wanted_later(self) -> Mapping[int, frozenset[str]]:
        """The layouts in which steps to come may read the values of this step; none for a value that dies."""
        values = dict.fromkeys((*self.step.operands, *self.step.results))
        return {v: self.problem.wanted_after(v, self.index) for v in values}

    @cached_property
    def forms(self) -> list[list[int]]:
        """The numbers of the ways, those together that differ in seconds, workspace and toll only.

        Without those that another of them beats.
        """
        forms: dict[tuple[object, ...], list[int]] = {}
        for number, way in enumerate(self.step.ways):
            forms.setdefault((way.wants, way.makes, way.in_place, way.sharing), []).append(number)
        return [self._undominated(alike) for alike in forms.values()]

    def _undominated(self, alike: Sequence[int]) -> list[int]:
        """The ways of which no other of the form is as good in seconds, workspace and toll."""
        ways, kept = self.step.ways, list[int]()
        for number in sorted(alike, key=lambda n: (ways[n].seconds, ways[n].workspace, ways[n].toll)):
            way = ways[number]
            if not any(ways[k].workspace <= way.workspace and ways[k].toll <= way.toll for k in kept):
                kept.append(number)
        return sorted(kept)

    def born(self, way: Way) -> list[ValueState]:
        """The results that are read later, as a way makes them."""
        wanted = ((v, self.wanted_later[v]) for v in self.step.results)
        return [born(v, way.makes, layouts) for v, layouts in wanted if layouts]

    @cached_property
    def linking(self) -> bool:
        """Whether the result may share bytes with an operand that lives on."""
        return any(way.sharing is not Sharing.NONE for way in self.step.ways)

    def columns_after(self, involved: Sequence[frozenset[int]]) -> list[frozenset[int]]:
        """The values of each column after the step, of those with `involved` columns before it."""
        dead = {v for v, wanted in self.wanted_later.items() if not wanted}
        left = [values - dead for values in involved]
        results = [frozenset({v}) for v in self.step.results if v not in dead]
        parts = [frozenset().union(*left, *results)] if self.linking else [*left, *results]
        return [values for values in parts if values]

    def outcomes(self, before: Sequence[ColumnState], columns: Sequence[frozenset[int]]) -> Iterator[Outcome]:
        """Every outcome of the step whose operands stand in the states `before`."""
        for alike in self.forms:
            yield from _Attempt(self, alike, before).outcomes(columns)


class _Attempt:
    """Ways of a step of one form, from one combination of states."""

    def __init__(self, moment: Moment, alike: Sequence[int], before: Sequence[ColumnState]) -> None:
        self.moment, self.problem = moment, moment.problem
        self.ways = [(number, moment.step.ways[number]) for number in alike]
        way = self.way = self.ways[0][1]
        self.values = {s.value: s for column in before for s in column.values}
        self.buffers: Buffers = tuple(chain.from_iterable(column.buffers for column in before))
        self.reads = tuple(zip(moment.step.operands, way.wants, strict=True))
        self.makes = tuple((v, way.makes) for v in moment.step.results)
        self.conversions: list[tuple[Tensor, Tensor]] = []

    def outcomes(self, columns: Sequence[frozenset[int]]) -> Iterator[Outcome]:
        seconds = self._convert()
        if seconds is None:
            return
        for kept in product(*map(self._kept, dict.fromkeys(self.moment.step.operands))):
            after = {**self.values, **{s.value: s for s in kept}}
            before, during, buffers = self._run({(s.value, layout) for s in kept for layout in s.alive})
            states = tuple(_column(values, after, self._born, buffers) for values in columns)
            for number, way in self.ways:
                need = max(before, during + align(way.workspace))
                yield Outcome(states, number, seconds + way.seconds, need, way.toll)

    def _convert(self) -> float | None:
        """Seconds of the conversions that the way needs, which are noted; None where one is impossible."""
        seconds = 0.0
        for value, layout in self.reads:
            state, target = self.values[value], (value, layout)
            if layout in state.alive or any(made == target for _, made in self.conversions):
                continue
            cost = seconds_to_read(self.problem, state, layout)
            if cost is None:
                return None
            self.conversions.append(((value, state.made), target))
            seconds += cost
        return seconds

    def _kept(self, value: int) -> list[ValueState]:
        """The states in which an operand may live on; what is not read here must be kept."""
        read = {layout for v, layout in self._all_reads if v == value}
        made_here = {layout for _, (v, layout) in self.conversions if v == value}
        present = {*self.values[value].alive, *made_here}
        return list(kept_states(self.values[value], present, read, self.moment.wanted_later[value]))

    @cached_property
    def _all_reads(self) -> tuple[Tensor, ...]:
        return (*self.reads, *(source for source, _ in self.conversions))

    @cached_property
    def _born(self) -> dict[int, ValueState]:
        return {state.value: state for state in self.moment.born(self.way)}

    def _run(self, kept: set[Tensor]) -> tuple[int, int, Buffers]:
        """Bytes live at most in the conversions and while the operator runs, and the buffers after it."""
        last: dict[Tensor, int] = {source: i for i, (source, _) in enumerate(self.conversions)}
        last.update(dict.fromkeys(self.reads, len(self.conversions)))
        ends: list[set[Tensor]] = [set() for _ in range(len(self.conversions) + 1)]
        for tensor, at in last.items():
            if tensor not in kept:
                ends[at].add(tensor)
        buffers, need = self.buffers, 0
        for (_, made), dying in zip(self.conversions, ends[:-1], strict=True):
            buffers = with_own(self.problem, buffers, made)
            need = max(need, live_bytes(self.problem, buffers))
            buffers = without(buffers, dying)
        ends[-1].update(t for t in self.makes if t[0] not in self._born)
        buffers = with_results(self.problem, buffers, self.way, self.reads, self.makes, ends[-1])
        return need, live_bytes(self.problem, buffers), without(buffers, ends[-1])


def _column(
    values: frozenset[int], after: Mapping[int, ValueState], born: Mapping[int, ValueState], buffers: Buffers
) -> ColumnState:
    states = (born[v] if v in born else after[v] for v in sorted(values))
    own = (b for b in buffers if b.members[0][0][0] in values)
    return ColumnState(tuple(states), tuple(sorted(own)))


def initial(problem: Problem) -> list[ColumnState]:
    """The columns before the first step: graph inputs that are read."""
    states = []
    for value in problem.inputs:
        wanted = problem.wanted_after(value, -1)
        if wanted:
            states.append(ColumnState((born(value, problem.external, wanted),), ()))
    return states
