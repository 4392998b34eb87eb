"""The quick way to a step's outcomes against the one that follows every buffer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from secateur.passes.select.plain import PlainMoment
from secateur.passes.select.states import ColumnState, Moment, Outcome, initial
from tests.passes.select.problems import small_problem


def every_before(seed: int) -> list[tuple[Moment, list[ColumnState], list[Outcome]]]:
    """The steps of a random problem, each combination of their operands' columns, and its outcomes."""
    problem = small_problem(seed)
    columns: dict[frozenset[int], set[ColumnState]] = {}
    for state in initial(problem):
        columns[frozenset(s.value for s in state.values)] = {state}
    found = []
    for index in range(len(problem.steps) + 1):
        moment = Moment(problem, index)
        involved = [values for values in columns if values & set(moment.step.operands)]
        after = moment.columns_after(involved)
        reached: list[set[ColumnState]] = [set() for _ in after]
        for before in _products([sorted(columns.pop(values)) for values in involved]):
            outcomes = list(moment.outcomes(before, after))
            found.append((moment, before, outcomes))
            for outcome in outcomes:
                for states, state in zip(reached, outcome.after, strict=True):
                    states.add(state)
        columns.update(zip(after, reached, strict=True))
    return found


def _products(columns: Sequence[Sequence[ColumnState]]) -> list[list[ColumnState]]:
    rows: list[list[ColumnState]] = [[]]
    for states in columns:
        rows = [[*row, state] for row in rows for state in states]
    return rows


@pytest.mark.parametrize("seed", range(100))
def test_both_ways_give_the_same_outcomes(seed: int) -> None:
    for moment, before, outcomes in every_before(seed):
        quick = PlainMoment(moment).outcomes(before)
        assert quick is None or Counter(quick) == Counter(outcomes)


def test_both_ways_are_taken() -> None:
    taken = Counter(PlainMoment(m).outcomes(b) is None for s in range(30) for m, b, _ in every_before(s))
    assert min(taken[True], taken[False]) > 100
