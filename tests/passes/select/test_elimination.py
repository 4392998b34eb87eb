"""Variable elimination against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.passes.select.elimination import Table, TooWideError, descend, lower_bound, minimize, order_of
from secateur.passes.select.elimination_order import (
    best_order,
    measured,
    min_fill_order,
)

NO_LIMIT = 1 << 62  # entries of a table


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], list[Table]]:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=6))
    tables = []
    for _ in range(draw(st.integers(0, 8))):
        scope = tuple(draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=3, unique=True)))
        count = int(np.prod([sizes[v] for v in scope]))
        costs = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
        tables.append(Table(scope, np.array(costs, float).reshape([sizes[v] for v in scope])))
    return sizes, tables


def total(values: tuple[int, ...] | list[int], tables: list[Table]) -> float:
    return sum(float(t.costs[tuple(values[v] for v in t.variables)]) for t in tables)


@given(problems())
def test_the_assignment_is_optimal(problem: tuple[list[int], list[Table]]) -> None:
    sizes, tables = problem
    best = min(total(values, tables) for values in itertools.product(*map(range, sizes)))
    assert total(minimize(sizes, tables), tables) == best


def test_forbidden_combinations_are_avoided() -> None:
    forbidden = Table((0, 1), np.array([[np.inf, 5.0], [3.0, np.inf]]))
    assert minimize([2, 2], [forbidden, Table((0,), np.array([0.0, 9.0]))]) == [0, 1]


def test_a_chain_of_a_thousand_needs_small_tables_only() -> None:
    links = [Table((i, i + 1), np.array([[0.0, 1.0], [1.0, 0.0]])) for i in range(999)]
    assert minimize([2] * 1000, [*links, Table((0,), np.array([1.0, 0.0]))], limit=4) == [1] * 1000


def test_a_clique_too_wide_is_refused() -> None:
    pairs = [Table((i, j), np.zeros((4, 4))) for i, j in itertools.combinations(range(8), 2)]
    with pytest.raises(TooWideError, match="8 variables"):
        minimize([4] * 8, pairs, limit=1000)


def test_variables_of_one_value_never_count() -> None:
    """A hundred of them in one table: NumPy's arrays have at most 64 axes."""
    hub = [Table((i, 100), np.array([[3.0, 1.0]])) for i in range(100)]
    wide = Table(tuple(range(60)), np.zeros((1,) * 60))
    assert minimize([1] * 100 + [2], [*hub, wide]) == [0] * 100 + [1]
    assert lower_bound([1] * 100 + [2], [*hub, wide]) == 100.0


def test_a_hub_of_thousands_is_eliminated_last() -> None:
    hub = [Table((i, 5000), np.array([[0.0, 2.0, 9.0], [1.0, 0.5, 9.0]])) for i in range(5000)]
    found = minimize([2] * 5000 + [3], hub, limit=6)
    assert found == [0] * 5000 + [0]


def test_an_order_is_given_up_at_the_first_table_too_large() -> None:
    """A clique of 600: tying all neighbours again and again would take 600^3 steps."""
    scopes = list(itertools.combinations(range(600), 2))
    order = best_order([2] * 600, scopes, limit=1 << 22)
    assert order.largest == 1 << 600
    assert sorted(order.variables) == list(range(600))


def test_a_table_must_have_an_axis_for_each_variable() -> None:
    with pytest.raises(ValueError, match="as many axes"):
        Table((0, 1), np.zeros(2))


@given(problems(), st.sampled_from([1, 3, 9, 27, 1000]))
def test_the_bound_holds_and_is_the_optimum_where_nothing_is_split(
    problem: tuple[list[int], list[Table]], limit: int
) -> None:
    sizes, tables = problem
    best = min(total(values, tables) for values in itertools.product(*map(range, sizes)))
    bound = lower_bound(sizes, tables, limit)
    assert bound <= best
    if order_of(sizes, tables, limit).largest <= limit:
        assert bound == best


def test_splitting_loosens_the_bound() -> None:
    """Three variables that must differ but have two values each cost at least 1; pairs alone cost nothing."""
    pairs = [Table(p, np.eye(2)) for p in itertools.combinations(range(3), 2)]
    assert lower_bound([2] * 3, pairs) == 1
    assert lower_bound([2] * 3, pairs, limit=4) == 0


@given(problems())
def test_every_order_names_each_variable_once_and_its_largest_table(
    problem: tuple[list[int], list[Table]],
) -> None:
    sizes, tables = problem
    scopes = [t.variables for t in tables]
    near: dict[int, set[int]] = {v: set() for v in range(len(sizes))}
    for scope in scopes:
        for v in scope:
            near[v] |= set(scope) - {v}
    by_fill = measured(sizes, scopes, min_fill_order(near))
    for order in (best_order(sizes, scopes, NO_LIMIT), by_fill):
        assert sorted(order.variables) == list(range(len(sizes)))
        assert order.largest >= max(int(np.prod([sizes[v] for v in s])) for s in [*scopes, (0,)])
        assert order.width <= len(sizes)


def test_a_tree_decomposition_is_taken_where_our_order_is_too_wide() -> None:
    sizes = [9, 9, 9, 3, 9, 3, 3, 9]
    scopes = [(5, 1), (7, 0), (6, 4), (3, 5), (7, 3), (4, 2), (3, 1), (2, 5), (7, 4), (6, 2), (1, 5)]
    assert best_order(sizes, scopes, NO_LIMIT).largest == 729
    assert best_order(sizes, scopes, limit=729).largest == 729
    assert best_order(sizes, scopes, limit=728).largest == 243


@given(problems())
def test_descent_never_gets_worse_and_ends_where_no_single_change_helps(
    problem: tuple[list[int], list[Table]],
) -> None:
    sizes, tables = problem
    start = [0] * len(sizes)
    values = descend(sizes, tables, start)
    here = total(values, tables)
    assert here <= total(start, tables)
    for v, size in enumerate(sizes):
        assert all(total([*values[:v], x, *values[v + 1 :]], tables) >= here for x in range(size))
