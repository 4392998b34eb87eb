"""Building a trellis: the distinct states between two steps, and the edges from each to those after it.

Where a step has more edges than allowed, only the states that were reached
fastest or with least memory are followed (a beam search), and the trellis says
what was left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from secateur.ir.support.units import size_text

from .plain import PlainMoment
from .problem import Problem
from .sharing import live_bytes
from .states import ColumnState, Moment, Outcome, initial
from .trellis import CutShortError, Ints, Layer, NoCourseError, Trellis, layer_of, ranges, restricted

LARGEST_LAYER = 50_000  # edges
LARGEST_TRELLIS = 5_000_000  # edges; where they are used up, layers of 1000 are still made
LARGEST_WORK = 1_000_000  # tensors times operands, of outcomes that share bytes: some ten seconds
_NARROW = 1000
_LARGEST_KEY = 1 << 62


def build(problem: Problem, largest: int = LARGEST_LAYER, memory: int | None = None) -> Trellis:
    """The trellis of a problem, of the plans that need at most `memory` bytes where that is given.

    A layer has at most `largest` edges. NoCourseError where no plan is possible; CutShortError where states
    were left out and none of the others goes on, or where the search takes more than `LARGEST_WORK`.
    """
    table = _Table(problem, memory)
    layers: list[Layer] = []
    left = LARGEST_TRELLIS
    try:
        for i in range(len(problem.steps) + 1):
            layers.append(table.advance(Moment(problem, i), min(largest, max(left, _NARROW))))
            left -= len(layers[-1].source)
    except NoCourseError:
        if table.left_out:
            raise CutShortError(table.left_out) from None
        raise
    whole = [np.ones(len(layer.source), np.bool_) for layer in layers]
    return restricted(Trellis(tuple(layers), table.left_out), whole)


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

    def __init__(self, problem: Problem, memory: int | None) -> None:
        self.problem, self.memory = problem, memory
        self.columns: list[_Column] = []
        for state in initial(problem):
            column = _Column(frozenset(s.value for s in state.values))
            column.number(state, problem)
            self.columns.append(column)
        self.rows: Ints = np.zeros((1, len(self.columns)), np.int64)
        self.seconds, self.peaks = np.zeros(1), np.zeros(1, np.int64)
        self.left_out, self.work = "", 0

    def advance(self, moment: Moment, largest: int) -> Layer:
        """The layer of a step, of at most so many edges; the table then holds the states after it."""
        values = set(moment.step.operands)
        involved = [i for i, c in enumerate(self.columns) if c.values & values]
        others = [i for i in range(len(self.columns)) if i not in involved]
        after = [_Column(v) for v in moment.columns_after([self.columns[i].values for i in involved])]
        source, outcome, flat = self._followed(moment, involved, after, largest)
        need = np.array([o.need for o in flat], np.int64)[outcome] + self._bytes(others)[source]
        if self.memory is not None:
            fits = need <= self.memory
            source, outcome, need = source[fits], outcome[fits], need[fits]
            if not len(need):
                raise NoCourseError(f"step {moment.index} needs more than {size_text(self.memory)}")
        target = self._replace_rows(others, after, source, outcome, flat)
        way = np.array([o.way for o in flat], np.int64)[outcome]
        seconds, toll = (np.array([getattr(o, x) for o in flat])[outcome] for x in ("seconds", "toll"))
        layer = layer_of(source, target, way, seconds, need, toll)
        self.seconds = np.minimum.reduceat(self.seconds[layer.source] + layer.seconds, layer.starts)
        self.peaks = np.minimum.reduceat(np.maximum(self.peaks[layer.source], layer.need), layer.starts)
        return layer

    def _followed(
        self, moment: Moment, involved: Sequence[int], after: Sequence[_Column], largest: int
    ) -> tuple[Ints, Ints, list[Outcome]]:
        """The row and the outcome of each edge, as numbers, and the outcomes."""
        best = self._best()[: max(1, largest)]
        groups, first = _distinct([self.rows[best, i] for i in involved], len(best))
        plain = PlainMoment(moment)
        found = [
            self._outcomes(plain, self.rows[best[row], involved], involved, after, largest) for row in first
        ]
        counts = np.array([len(outcomes) for outcomes in found], np.int64)
        if not counts.any():
            raise NoCourseError(f"no way of step {moment.index} gets its operands in layouts it takes")
        within = int(np.searchsorted(np.cumsum(counts[groups]), largest, side="right"))
        if within < len(self.rows) and not self.left_out:
            ways = f"{counts[groups].sum()} ways to go on from {len(self.rows)} combinations of live layouts"
            self.left_out = f"step {moment.index} has {ways}"
        best, groups = best[: max(1, within)], groups[: max(1, within)]
        outcome = ranges((np.cumsum(counts) - counts)[groups], counts[groups])
        return np.repeat(best, counts[groups]), outcome, [o for outcomes in found for o in outcomes]

    def _best(self) -> Ints:
        """The rows, in turn the next by least seconds and the next by least peak."""
        by_seconds, by_peak = np.lexsort((self.peaks, self.seconds)), np.lexsort((self.seconds, self.peaks))
        mixed = np.stack([by_seconds, by_peak], axis=1).ravel()
        _, first = np.unique(mixed, return_index=True)
        order: Ints = mixed[np.sort(first)]
        return order

    def _outcomes(
        self, plain: PlainMoment, row: Ints, involved: Sequence[int], after: Sequence[_Column], most: int
    ) -> list[Outcome]:
        """The outcomes from one combination, at most `most` and one more: an operand may be kept or dropped,
        so there are exponentially many of operators with many operands."""
        before = [self.columns[i].states[n] for i, n in zip(involved, row, strict=True)]
        found = plain.outcomes(before)
        if found is not None:
            return _undominated(list(islice(found, most + 1)))
        moved = (sum(len(c.values) for c in before) + 1) * (len(plain.moment.step.operands) + 1)
        outcomes = []
        for outcome in islice(plain.moment.outcomes(before, [c.values for c in after]), most + 1):
            outcomes.append(outcome)
            self._spend(moved, plain.moment.index)
        return _undominated(outcomes)

    def _spend(self, moved: int, step: int) -> None:
        self.work += moved
        if self.work > LARGEST_WORK:
            raise CutShortError(f"step {step} is reached in too many combinations of live layouts")

    def _bytes(self, columns: Sequence[int]) -> Ints:
        """Bytes that the columns take in each row."""
        total = np.zeros(len(self.rows), np.int64)
        for i in columns:
            total += np.array(self.columns[i].bytes, np.int64)[self.rows[:, i]]
        return total

    def _replace_rows(
        self,
        others: Sequence[int],
        after: list[_Column],
        source: Ints,
        outcome: Ints,
        flat: Sequence[Outcome],
    ) -> Ints:
        """The number of the state that each edge leads to; these states become the rows."""
        numbers = [[c.number(o.after[i], self.problem) for o in flat] for i, c in enumerate(after)]
        new = [np.array(column, np.int64)[outcome] for column in numbers]
        kept = [self.rows[source, i] for i in others]
        target, first = _distinct([*kept, *new], len(source))
        self.columns = [*(self.columns[i] for i in others), *after]
        self.rows = np.stack([*kept, *new], axis=1)[first] if self.columns else np.zeros((1, 0), np.int64)
        return target


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


def _undominated(outcomes: list[Outcome]) -> list[Outcome]:
    """Those that no outcome with the same columns matches in seconds, bytes and toll."""
    kept: dict[tuple[ColumnState, ...], list[Outcome]] = {}
    for o in sorted(outcomes, key=lambda o: (o.seconds, o.need, o.toll)):
        rivals = kept.setdefault(o.after, [])
        if not any(r.need <= o.need and r.toll <= o.toll for r in rivals):
            rivals.append(o)
    return [o for rivals in kept.values() for o in rivals]
