"""Least time, least memory and the frontier of random problems, against every plan there is."""

from __future__ import annotations

import dataclasses
import random
import re

import numpy as np
import pytest

from secateur.passes.select.footprint import costs
from secateur.passes.select.frontier import frontier
from secateur.passes.select.problem import Costs
from secateur.passes.select.search import build
from secateur.passes.select.solver import Solver
from secateur.passes.select.sweeps import TIES, fastest, least_peak
from secateur.passes.select.trellis import NoCourseError, Trellis
from tests.passes.select.networks import inception_like
from tests.passes.select.problems import best_points, every_plan, fan_out, random_problem, small_problem
from tests.sampled import sampled


def points(trellis: Trellis) -> list[tuple[int, float]]:
    return [(found.peak, found.seconds) for found in frontier(trellis)]


@pytest.mark.parametrize("seed", sampled(range(300), range(0, 300, 3)))
def test_every_objective_equals_that_of_trying_all_plans(seed: int) -> None:
    problem = small_problem(seed)
    plans = list(every_plan(problem))
    if not plans:
        with pytest.raises(NoCourseError):
            build(problem)
        return
    trellis = build(problem)
    assert costs(problem, fastest(trellis).plan).seconds == min(c.seconds for _, c in plans)
    assert Solver(problem).fastest().costs.seconds == min(c.seconds for _, c in plans)
    assert least_peak(trellis) == min(c.peak for _, c in plans)
    assert points(trellis) == best_points(plans)


@pytest.mark.parametrize("seed", [s for s in range(0, 300, 10) if any(every_plan(small_problem(s)))])
def test_each_point_of_the_frontier_has_a_plan(seed: int) -> None:
    problem = small_problem(seed)
    for found in frontier(build(problem)):
        assert costs(problem, found.plan) == Costs(found.seconds, found.peak, found.toll)


def test_the_problems_tried_are_not_all_alike() -> None:
    frontiers = [best_points(list(every_plan(small_problem(seed)))) for seed in range(60)]
    assert sum(len(points) > 1 for points in frontiers) >= 20
    assert max(map(len, frontiers)) >= 4


@pytest.mark.parametrize("few", [1, 3, 10**6])
def test_the_frontier_is_the_same_wherever_the_trellis_is_cut(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a sweep for each limit that some edge needs: few parts, each layer alone, and between."""
    trellis = build(inception_like(modules=2, seed=1))
    limits = np.unique(np.concatenate([layer.need for layer in trellis.layers]))
    seconds = {limit: fastest(trellis, limit).seconds for limit in limits[limits >= least_peak(trellis)]}
    falls = [limit for limit, before in zip([*seconds][1:], seconds, strict=False)
             if seconds[limit] < seconds[before] * (1 - TIES)]  # fmt: skip
    monkeypatch.setattr("secateur.passes.select.frontier.FEW", few)
    found, expected = points(trellis), [min(seconds), *falls]
    assert len(falls) > 10
    assert [peak for peak, _ in found] == expected
    assert [least for _, least in found] == pytest.approx([seconds[peak] for peak in expected])


def test_trying_all_plans_tells_a_wrong_cost_from_a_right_one() -> None:
    """The oracle sees one byte and one second: of a problem made dearer its answers differ."""
    problem = small_problem(1)
    step = problem.steps[0]
    dearer = tuple(
        dataclasses.replace(w, seconds=w.seconds + 1, workspace=w.workspace + 4096) for w in step.ways
    )
    changed = dataclasses.replace(problem, steps=(dataclasses.replace(step, ways=dearer), *problem.steps[1:]))
    before, after = (best_points(list(every_plan(p))) for p in (problem, changed))
    assert points(build(problem)) == before != after == points(build(changed))


def test_a_limit_below_the_least_peak_is_refused() -> None:
    trellis = build(fan_out(3))
    with pytest.raises(NoCourseError, match=f"nothing fits in {least_peak(trellis) - 1} bytes"):
        fastest(trellis, least_peak(trellis) - 1)


def test_too_many_layouts_live_at_once_are_cut_and_the_trellis_says_so() -> None:
    whole, cut = build(fan_out(6)), build(fan_out(6), largest=20)
    assert not whole.left_out
    assert re.fullmatch(r"step \d+ has \d+ ways to go on from \d+ combinations of live layouts", cut.left_out)
    assert max(len(layer.source) for layer in cut.layers) <= 20 < max(len(x.source) for x in whole.layers)


def test_a_conversion_that_is_impossible_is_never_taken() -> None:
    problem = random_problem(random.Random(3), 4)
    alone = dataclasses.replace(problem, conversions={})
    plans = list(every_plan(alone))
    assert len(plans) < len(list(every_plan(problem)))
    if plans:
        assert costs(alone, fastest(build(alone)).plan).seconds == min(c.seconds for _, c in plans)
