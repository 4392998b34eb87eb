"""Least cost within a limit on toll: against every assignment, against HiGHS, and with too many labels."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pytest

from secateur.passes.prune.weighing import BeyondError, Pair, weighed
from tests.sampled import sampled, sampled_rows

from .weighed_milp import least_cost

Drawn = tuple[list[int], list[Pair]]


def table(
    choose: random.Random, variables: tuple[int, ...], sizes: Sequence[int], holes: float = 0.1
) -> Pair:
    """Costs and tolls drawn, some entries forbidden; ties are common."""
    shape = tuple(sizes[v] for v in variables)
    count = math.prod(shape)
    cost = np.array([choose.choice([choose.random(), choose.randint(0, 3)]) for _ in range(count)], float)
    toll = np.array([choose.choice([choose.random(), choose.randint(0, 3)]) for _ in range(count)], float)
    cost[[choose.random() < holes for _ in range(count)]] = math.inf
    toll[[choose.random() < holes / 2 for _ in range(count)]] = math.inf
    return Pair(variables, cost.reshape(shape), toll.reshape(shape))


def drawn(seed: int, most: int = 6) -> Drawn:
    """A few variables, tables over one to three of them in any order, and one over none."""
    choose = random.Random(seed)
    sizes = [choose.randint(1, 4) for _ in range(choose.randint(1, most))]
    scopes = [tuple(choose.sample(range(len(sizes)), k=min(len(sizes), choose.randint(1, 3)))) for _ in sizes]
    scopes += [(v,) for v in range(len(sizes)) if choose.random() < 0.5]
    return sizes, [*(table(choose, s, sizes) for s in scopes), Pair((), np.array(0.5), np.array(0.25))]


def sums(tables: Sequence[Pair], values: Sequence[int]) -> tuple[float, float]:
    at = [tuple(values[v] for v in t.variables) for t in tables]
    pairs = list(zip(tables, at, strict=True))
    return sum(float(t.cost[i]) for t, i in pairs), sum(float(t.toll[i]) for t, i in pairs)


def by_hand(sizes: Sequence[int], tables: Sequence[Pair], limit: float) -> float:
    """The least cost of all assignments within the limit."""
    every = (sums(tables, values) for values in product(*map(range, sizes)))
    return min((cost for cost, toll in every if toll <= limit * (1 + 1e-12)), default=math.inf)


@pytest.mark.parametrize("seed", sampled(range(300), range(0, 300, 3)))
def test_every_limit_is_met_at_the_least_cost(seed: int) -> None:
    sizes, tables = drawn(seed)
    for limit in (0.3, 1.0, 2.0, 3.0, 5.0, 100.0):
        least = by_hand(sizes, tables, limit)
        if math.isinf(least):
            with pytest.raises(BeyondError):
                weighed(sizes, tables, limit)
            continue
        found = weighed(sizes, tables, limit)
        assert sums(tables, found.values) == pytest.approx((found.cost, found.toll))
        assert found.toll <= limit * (1 + 1e-9)
        assert found.cost == pytest.approx(least, abs=1e-9)
        assert found.bound <= found.cost
        assert found.resolution == 0


def test_what_is_negative_is_refused() -> None:
    """A bound on what is to come would be none, and the search for a price would not end."""
    with pytest.raises(ValueError, match="negative"):
        weighed([2], [Pair((0,), np.zeros(2), np.array([0.0, -1.0]))], 0.0)


def test_what_is_impossible_names_the_least_toll() -> None:
    sizes, tables = drawn(5)
    least = min(sums(tables, values)[1] for values in product(*map(range, sizes)))
    with pytest.raises(BeyondError) as refused:
        weighed(sizes, tables, least / 2)
    assert refused.value.least == pytest.approx(least)


def chain(seed: int, length: int, size: int) -> Drawn:
    """Stages as a residual network has them: a stream, and two counts of a block that lie beside it."""
    choose = random.Random(seed)
    streams = list(range(0, 3 * length, 3))
    sizes = [size] * (3 * length)
    scopes = [scope for s in streams for scope in ((s, s + 1), (s + 1, s + 2), (s + 2, s))]
    scopes += list(pairwise(streams))
    tables = []
    for scope in scopes:  # time falls with both counts
        rates = [choose.uniform(0.5, 2) for _ in scope]
        steps = np.array([sum(r * -(-i // choose.choice((1, 2))) for r, i in zip(rates, at, strict=True))
                          for at in product(*(range(1, size + 1) for _ in scope))])  # fmt: skip
        shape = (size,) * len(scope)
        tables.append(Pair(scope, np.zeros(shape), steps.reshape(shape)))
    for v in range(3 * length):  # and loss rises as counts fall
        losses = np.cumsum([choose.uniform(0, 1) for _ in range(size)])[::-1] - 0.0
        tables.append(Pair((v,), losses - losses[-1], np.zeros(size)))
    return sizes, tables


@pytest.mark.parametrize(
    ("length", "size", "seed"),
    sampled_rows([(4, 4, 0), (6, 5, 1), (10, 4, 2), (12, 6, 3)], lambda length, *_: length in (4, 10)),
)
def test_larger_problems_agree_with_highs(length: int, size: int, seed: int) -> None:
    sizes, tables = chain(seed, length, size)
    whole = sums(tables, [size - 1] * len(sizes))[1]
    for share in (0.4, 0.6, 0.9):
        wanted = least_cost(sizes, tables, share * whole)
        if wanted is None:
            with pytest.raises(BeyondError):
                weighed(sizes, tables, share * whole)
        else:
            assert weighed(sizes, tables, share * whole).cost == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("most", [40, 200, 1000])
def test_where_labels_are_too_many_the_resolution_says_how_far_off_the_answer_may_be(most: int) -> None:
    sizes, tables = chain(7, 8, 6)
    limit = 0.6 * sums(tables, [5] * len(sizes))[1]
    exact, rough = weighed(sizes, tables, limit), weighed(sizes, tables, limit, most)
    assert exact.resolution == 0
    assert rough.toll <= limit * (1 + 1e-9)
    assert rough.bound <= exact.cost * (1 + 1e-9)
    assert exact.cost <= rough.cost * (1 + 1e-9)
    assert rough.cost - exact.cost <= rough.resolution + 1e-9
    assert rough.resolution > 0 or rough.cost == pytest.approx(exact.cost)
