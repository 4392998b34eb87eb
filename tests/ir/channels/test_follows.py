"""One-way dependencies between units, on numbers alone."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest

from secateur.ir.channels.follows import Follows, Pairs

Edges = Collection[tuple[int, int]]


def pairs(edges: Edges) -> Pairs:
    a = np.array(sorted(edges), np.int64).reshape(-1, 2)
    return Pairs(a[:, 0], a[:, 1])


def closed(
    gone: Collection[int],
    needs: Edges = (),
    zero: Edges = (),
    useless: Edges = (),
    made: Collection[int] = (),
    used: Collection[int] = (),
    size: int = 8,
) -> set[int]:
    def mask(units: Collection[int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.isin(np.arange(size), list(units))

    follows = Follows(size, pairs(needs), pairs(zero), pairs(useless), mask(made), mask(used))
    return set(np.flatnonzero(follows.closure(mask(gone))).tolist())


def test_without_dependencies_nothing_follows() -> None:
    assert closed({1, 3}) == {1, 3}


def test_what_needs_the_gone_goes_and_so_on() -> None:
    assert closed({0}, needs=[(0, 1), (1, 2), (3, 4)]) == {0, 1, 2}


def test_one_needed_cause_is_enough() -> None:
    assert closed({0}, needs=[(0, 2), (1, 2)]) == {0, 2}


@pytest.mark.parametrize(("gone", "all_gone"), [({0}, {0}), ({0, 1}, {0, 1, 2})])
def test_a_sum_goes_with_its_last_term(gone: set[int], all_gone: set[int]) -> None:
    assert closed(gone, zero=[(0, 2), (1, 2)]) == all_gone


def test_a_sum_that_something_else_makes_stays() -> None:
    assert closed({0, 1}, zero=[(0, 2), (1, 2)], made={2}) == {0, 1}


@pytest.mark.parametrize(("gone", "all_gone"), [({0}, {0}), ({0, 1}, {0, 1, 2})])
def test_what_serves_only_the_gone_goes(gone: set[int], all_gone: set[int]) -> None:
    assert closed(gone, useless=[(0, 2), (1, 2)]) == all_gone


def test_what_something_else_uses_stays() -> None:
    assert closed({0, 1}, useless=[(0, 2), (1, 2)], used={2}) == {0, 1}


def test_kinds_act_on_each_other() -> None:
    """0 goes; 1 needs it; 2 sums 1 and 3, of which 3 serves 1 alone."""
    assert closed({0}, needs=[(0, 1)], useless=[(1, 3)], zero=[(1, 2), (3, 2)]) == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_least_set_that_all_agree_with(seed: int) -> None:
    """Against the definition, one unit after the other."""
    choose = np.random.default_rng(seed)
    size = 12
    needs, zero, useless = (
        {(int(a), int(b)) for a, b in choose.integers(0, size, (6, 2)) if a != b} for _ in range(3)
    )
    made, used = (set(choose.choice(size, 3).tolist()) for _ in range(2))
    gone = set(choose.choice(size, 3).tolist())

    def follows(unit: int, now: set[int]) -> bool:
        sums, serves = ({a for a, b in edges if b == unit} for edges in (zero, useless))
        return (
            any((a, unit) in needs for a in now)
            or bool(sums and sums <= now and unit not in made)
            or bool(serves and serves <= now and unit not in used)
        )

    wanted = set(gone)
    while more := {u for u in range(size) if u not in wanted and follows(u, wanted)}:
        wanted |= {more.pop()}
    assert closed(gone, needs, zero, useless, made, used, size) == wanted
