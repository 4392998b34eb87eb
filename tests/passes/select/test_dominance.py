"""What dominates what, against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.passes.select.dominance import undominated


@pytest.mark.parametrize("seed", range(20))
def test_those_are_left_of_which_no_other_of_the_state_has_as_little_of_both(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 40))
    state = rng.integers(0, 4, count)
    cost, toll = (rng.integers(0, 6, count).astype(float) for _ in range(2))
    left = undominated(state, cost, toll)
    assert (np.diff(state[left]) >= 0).all()
    points = {(s, c, t) for s, c, t in zip(state, cost, toll, strict=True)}
    best = [
        (s, c, t)
        for s, c, t in points
        if not any(a == s and b <= c and d <= t and (b, d) != (c, t) for a, b, d in points)
    ]
    assert sorted(zip(state[left], cost[left], toll[left], strict=True)) == sorted(best)
