"""Choice of tiles under a budget of noise: as brute force, and what cannot be met."""

from __future__ import annotations

from itertools import product
from math import log10

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.errors import SecateurError
from secateur.passes.winograd_tiles import Cost, choose_tiles

COSTS = st.builds(Cost, st.integers(1, 20).map(float), st.integers(0, 20).map(lambda n: n / 64))
LAYERS = st.lists(st.dictionaries(st.integers(0, 5), COSTS, min_size=1, max_size=4), min_size=1, max_size=5)


def brute(layers: list[dict[int, Cost]], most: float, budget: float) -> float | None:
    """The least seconds of all combinations that keep both limits."""
    rows = [[c for c in layer.values() if c.noise <= most] for layer in layers]
    fitting = [combination for combination in product(*rows) if sum(c.noise for c in combination) <= budget]
    return min((sum(c.seconds for c in combination) for combination in fitting), default=None)


@settings(max_examples=400)
@given(layers=LAYERS, most=st.integers(0, 20), budget=st.integers(0, 64))
def test_as_brute_force(layers: list[dict[int, Cost]], most: int, budget: int) -> None:
    decibels = -10 * log10(most / 64) if most else 400.0
    wanted = brute(layers, most / 64, budget / 64)
    if wanted is None:
        with pytest.raises(SecateurError):
            choose_tiles(layers, decibels, budget / 64)
        return
    keys = choose_tiles(layers, decibels, budget / 64)
    chosen = [layer[key] for layer, key in zip(layers, keys, strict=True)]
    assert sum(c.seconds for c in chosen) == wanted
    assert sum(c.noise for c in chosen) <= budget / 64
    assert max(c.noise for c in chosen) <= most / 64


def test_without_a_budget_each_layer_takes_its_fastest_quiet_way() -> None:
    layers = [{"direct": Cost(3.0, 1e-4), "4": Cost(1.0, 0.02), "2": Cost(2.0, 1e-3)}] * 2
    assert choose_tiles(layers, 20.0) == ["2", "2"]
    assert choose_tiles(layers, 10.0) == ["4", "4"]


def test_a_budget_is_spent_where_it_saves_most() -> None:
    layers = [{"d": Cost(9.0, 0.0), "w": Cost(1.0, 0.01)}, {"d": Cost(5.0, 0.0), "w": Cost(1.0, 0.01)}]
    assert choose_tiles(layers, 0.0, 0.01) == ["w", "d"]


def test_many_layers_stay_quick() -> None:
    tiles = ("direct", "2", "4x2", "4")
    layers = [
        {t: Cost(1 + 0.37 * i % 1.0 - 0.1 * k, 1e-5 * (1 + i % 7) * 3.7**k) for k, t in enumerate(tiles)}
        for i in range(60)
    ]
    assert len(choose_tiles(layers, 20.0, 0.02)) == 60


def test_no_way_that_is_quiet_enough_is_refused() -> None:
    with pytest.raises(SecateurError, match=r"layer 1 has no way that keeps 30\.0 dB"):
        choose_tiles([{"d": Cost(1.0, 1e-4)}, {"d": Cost(1.0, 1e-2)}], 30.0)


def test_a_budget_below_the_quietest_ways_is_refused() -> None:
    with pytest.raises(SecateurError, match=r"adds up to 0\.02 at least, the budget is 0\.01"):
        choose_tiles([{"d": Cost(1.0, 0.01)}] * 2, 0.0, 0.01)
