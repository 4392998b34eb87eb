"""Every course that selection can take, as layers of states joined by edges.

A layer holds the distinct states between two steps, an edge a way of the step
from one state to another with its seconds, the bytes of arena it needs and its
noise. This is dynamic programming over a path decomposition of the network, the
one that its schedule gives: what is live together must be seen together, since
a limit on memory forbids combinations of it. The trellis knows no objective;
each is a sweep over it (`sweeps.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .footprint import events, profile, seconds_of
from .plain import PlainMoment
from .problem import Plan, Problem
from .sharing import live_bytes
from .states import ColumnState, Moment, Outcome, initial

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

LARGEST_LAYER = 100_000  # edges
_LARGEST_KEY = 1 << 62


class NoCourseError(ValueError):
    """Nothing meets the limits."""


class CutShortError(ValueError):
    """None of the states that were followed goes on; says why not all were."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A step's edges, sorted by the state they lead to; `starts` is where those of each state begin.

    All arrays but `starts` have one entry an edge; `need` is in bytes.
    """

    source: Ints
    target: Ints
    starts: Ints
    way: Ints
    seconds: Floats
    need: Ints
    noise: Floats

    @property
    def states(self) -> int:
        """How many states the edges lead to."""
        return len(self.starts)


def _layer(source: Ints, target: Ints, way: Ints, seconds: Floats, need: Ints, noise: Floats) -> Layer:
    """A layer of edges in any order, whose targets are numbered without gaps."""
    order = np.argsort(target, kind="stable")
    starts = np.searchsorted(target[order], np.arange(target.max(initial=-1) + 1))
    source, target, way, need = (row[order] for row in (source, target, way, need))
    return Layer(source, target, starts, way, seconds[order], need, noise[order])


@dataclass(frozen=True, eq=False)
class Trellis:
    """One layer a step, the reading of outputs included; every edge lies on a course from start to end.

    `left_out` says what was not looked at; empty where every plan is a course.
    """

    layers: tuple[Layer, ...]
    left_out: str = ""

    @property
    def edges(self) -> int:
        return sum(len(layer.source) for layer in self.layers)

    @property
    def widest(self) -> int:
        """The most states of a layer."""
        return max((layer.states for layer in self.layers), default=1)


# The search table ----------------------------------------------------------------------------------


@dataclass(eq=False)
class _Column:
    """The states that a set of values was found in, numbered; `bytes` of arena for each."""

    values: frozenset[int]
    states: list[ColumnState] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    _numbers: dict[ColumnState, int] = field(default_factory=dict)

    def number(self, state: ColumnState, problem: Problem) -> int:
        if state not in self._numbers:
            self._numbers[state] = len(self.states)
            self.states.append(state)
            self.bytes.append(live_bytes(problem, state.buffers))
        return self._numbers[state]


class _Table:
    """Distinct rows of column states: what the search may stand in between two steps.

    `seconds` and `peaks` are the least to reach each row; they only matter where rows must be left out.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.columns: list[_Column] = []
        for state in initial(problem):
            column = _Column(frozenset(s.value for s in state.values))
            column.number(state, problem)
            self.columns.append(column)
        self.rows: Ints = np.zeros((1, len(self.columns)), np.int64)
        self.seconds, self.peaks = np.zeros(1), np.zeros(1, np.int64)
        self.left_out = ""

    def advance(self, moment: Moment, limit: int) -> Layer:
        """The layer of a step, of at most `limit` edges; the table then holds the states after it."""
        values = set(moment.step.operands)
        involved = [i for i, c in enumerate(self.columns) if c.values & values]
        others = [i for i in range(len(self.columns)) if i not in involved]
        after = [_Column(v) for v in moment.columns_after([self.columns[i].values for i in involved])]
        best = self._best()[: max(1, limit)]
        groups, first = _distinct([self.rows[best, i] for i in involved], len(best))
        plain = PlainMoment(moment)
        found = [self._outcomes(plain, self.rows[best[row], involved], involved, after) for row in first]
        counts = np.array([len(outcomes) for outcomes in found], np.int64)
        if not counts.any():
            raise NoCourseError(f"no way of step {moment.index} gets its operands in layouts it takes")
        within = np.searchsorted(np.cumsum(counts[groups]), limit, side="right")
        if within < len(self.rows):
            ways = f"{counts[groups].sum()} ways to go on from {len(self.rows)} combinations of live layouts"
            self.left_out = self.left_out or f"step {moment.index} has {ways}"
        best, groups = best[: max(1, within)], groups[: max(1, within)]
        source = np.repeat(best, counts[groups])
        outcome = ranges((np.cumsum(counts) - counts)[groups], counts[groups])
        flat = [o for outcomes in found for o in outcomes]
        rest = self._bytes(others)
        return self._settle(after, others, source, outcome, flat, rest)

    def _best(self) -> Ints:
        """The rows, in turn the next by least seconds and the next by least peak."""
        by_seconds, by_peak = np.lexsort((self.peaks, self.seconds)), np.lexsort((self.seconds, self.peaks))
        mixed = np.stack([by_seconds, by_peak], axis=1).ravel()
        _, first = np.unique(mixed, return_index=True)
        order: Ints = mixed[np.sort(first)]
        return order

    def _outcomes(
        self, plain: PlainMoment, row: Ints, involved: Sequence[int], after: Sequence[_Column]
    ) -> list[Outcome]:
        before = [self.columns[i].states[n] for i, n in zip(involved, row, strict=True)]
        found = plain.outcomes(before)
        if found is None:
            found = list(plain.moment.outcomes(before, [c.values for c in after]))
        return _undominated(found)

    def _bytes(self, columns: Sequence[int]) -> Ints:
        """Bytes that the columns take in each row."""
        total = np.zeros(len(self.rows), np.int64)
        for i in columns:
            total += np.array(self.columns[i].bytes, np.int64)[self.rows[:, i]]
        return total

    def _settle(
        self,
        after: list[_Column],
        others: list[int],
        source: Ints,
        outcome: Ints,
        flat: Sequence[Outcome],
        rest: Ints,
    ) -> Layer:
        numbers = [[c.number(o.after[i], self.problem) for o in flat] for i, c in enumerate(after)]
        new = [np.array(column, np.int64)[outcome] for column in numbers]
        kept = [self.rows[source, i] for i in others]
        target, first = _distinct([*kept, *new], len(source))
        self.columns = [*(self.columns[i] for i in others), *after]
        self.rows = np.stack([*kept, *new], axis=1)[first] if self.columns else np.zeros((1, 0), np.int64)
        way = np.array([o.way for o in flat], np.int64)[outcome]
        seconds = np.array([o.seconds for o in flat])[outcome]
        need = np.array([o.need for o in flat], np.int64)[outcome] + rest[source]
        noise = np.array([o.noise for o in flat])[outcome]
        layer = _layer(source, target, way, seconds, need, noise)
        self.seconds = np.minimum.reduceat(self.seconds[layer.source] + layer.seconds, layer.starts)
        self.peaks = np.minimum.reduceat(np.maximum(self.peaks[layer.source], layer.need), layer.starts)
        return layer


def _distinct(columns: Sequence[Ints], length: int) -> tuple[Ints, Ints]:
    """The number of each row among the distinct ones, and the first row of each."""
    key, keys = np.zeros(length, np.int64), 1
    for column in columns:
        count = int(column.max(initial=0)) + 1
        if keys * count > _LARGEST_KEY:
            _, key = np.unique(key, return_inverse=True)
            keys = length
        key, keys = key * count + column, keys * count
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    return number, first


def ranges(starts: Ints, counts: Ints) -> Ints:
    """start, start + 1, ... of each start, `count` of them."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


def _undominated(outcomes: list[Outcome]) -> list[Outcome]:
    """Those that no outcome with the same columns matches in seconds, bytes and noise."""
    kept: dict[tuple[ColumnState, ...], list[Outcome]] = {}
    for o in sorted(outcomes, key=lambda o: (o.seconds, o.need, o.noise)):
        rivals = kept.setdefault(o.after, [])
        if not any(r.need <= o.need and r.noise <= o.noise for r in rivals):
            rivals.append(o)
    return [o for rivals in kept.values() for o in rivals]


def along(problem: Problem, plan: Plan, left_out: str = "") -> Trellis:
    """The trellis of one plan alone."""
    run = events(problem, plan)
    needed, spent = profile(problem, run), [seconds_of(problem, event) for event in run]
    ends = [i + 1 for i, event in enumerate(run) if event.way is not None]
    ways = [event.way for event in run if event.way is not None]
    zero = np.zeros(1, np.int64)
    layers = tuple(
        Layer(
            zero,
            zero,
            zero,
            np.array([number]),
            np.array([sum(spent[first:end])]),
            np.array([max(needed[first:end])]),
            np.array([way.noise]),
        )
        for first, end, way, number in zip([0, *ends[:-1]], ends, ways, [*plan, 0], strict=True)
    )
    return Trellis(layers, left_out)


def build(problem: Problem, limit: int = LARGEST_LAYER) -> Trellis:
    """The trellis of a problem; NoCourseError where no plan is possible.

    Where a layer has more than `limit` edges, only the states that are reached fastest or with least
    memory are followed (a beam search); `left_out` says so, or CutShortError where none of them goes on.
    """
    table = _Table(problem)
    try:
        layers = tuple(table.advance(Moment(problem, i), limit) for i in range(len(problem.steps) + 1))
    except NoCourseError:
        if table.left_out:
            raise CutShortError(table.left_out) from None
        raise
    whole = [np.ones(len(layer.source), np.bool_) for layer in layers]
    return restricted(Trellis(layers, table.left_out), whole)


def restricted(trellis: Trellis, edges: Sequence[Mask]) -> Trellis:
    """The courses that use only some of the edges, the states on them numbered anew.

    Raises NoCourseError where there is none.
    """
    layers = trellis.layers
    edges = _connected(layers, edges)
    if not edges[-1].any():
        raise NoCourseError("no course is left")
    left: list[Layer] = []
    before = np.zeros(1, np.int64)
    for layer, chosen in zip(layers, edges, strict=True):
        used = np.zeros(layer.states, np.bool_)
        used[layer.target[chosen]] = True
        after = np.cumsum(used) - 1
        rest = (getattr(layer, name)[chosen] for name in ("way", "seconds", "need", "noise"))
        left.append(_layer(before[layer.source[chosen]], after[layer.target[chosen]], *rest))
        before = after
    return replace(trellis, layers=tuple(left))


def _connected(layers: Sequence[Layer], edges: Sequence[Mask]) -> list[Mask]:
    """Those of the edges that lie on a course from start to end over such edges."""
    reached, forward = np.ones(1, np.bool_), []
    for layer, chosen in zip(layers, edges, strict=True):
        forward.append(chosen & reached[layer.source])
        reached = _touched(layer.target[forward[-1]], layer.states)
    both = []
    for layer, chosen, before in zip(
        reversed(layers), reversed(forward), [*(x.states for x in reversed(layers[:-1])), 1], strict=True
    ):
        both.append(chosen & reached[layer.target])
        reached = _touched(layer.source[both[-1]], before)
    return both[::-1]


def _touched(states: Ints, count: int) -> Mask:
    touched = np.zeros(count, np.bool_)
    touched[states] = True
    return touched
