"""Choosing one operator at a time: by hand, by trying every way, and never better than the exact plan."""

from __future__ import annotations

import dataclasses
import itertools
from bisect import bisect_left

import pytest

from secateur.passes.select.baselines import fits, greedy, single
from secateur.passes.select.footprint import costs, events, profile
from secateur.passes.select.problem import Plan, Problem, Step, Way
from secateur.passes.select.solver import Solver
from tests.passes.select.problems import every_plan, small_problem

SEEDS = [s for s in range(120) if any(every_plan(small_problem(s)))]


def chain() -> Problem:
    """Three operators: the fastest way of the second alone needs conversions, and most workspace."""
    first = (Way("direct", ("NCHW",), "NCHW", 4.0), Way("winograd", ("NCHW",), "NCHW", 2.0, 256))
    second = (
        Way("direct", ("NCHW",), "NCHW", 4.0),
        Way("im2row", ("NCHW",), "NCHW", 3.0, 128),
        Way("winograd", ("NHWC",), "NHWC", 1.0, 512),
    )
    steps = (Step((0,), (1,), first), Step((1,), (2,), second), Step((2,), (3,), first))
    sizes = ({"NCHW": 64, "NHWC": 64},) * 4
    between = {(v, a, b): 5.0 for v in range(4) for a, b in itertools.permutations(("NCHW", "NHWC"))}
    return Problem(steps, sizes, between, (0,), (3,))


# Greedy --------------------------------------------------------------------------------------------


def test_greedy_pays_for_conversions_that_it_does_not_see() -> None:
    problem = chain()
    plan = greedy(problem)
    assert plan == (1, 2, 1)
    assert costs(problem, plan).seconds == 2 + 5 + 1 + 5 + 2
    assert Solver(problem).fastest().costs.seconds == 2 + 3 + 2


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (64 + 64 + 512, (1, 2, 1)),  # result, copy of the operand in NHWC, workspace
        (64 + 64 + 512 - 1, (1, 1, 1)),
        (64 + 256, (1, 1, 1)),
        (64 + 256 - 1, (0, 1, 0)),
        (64 + 64 + 128 - 1, (0, 0, 0)),
        (64 + 64, (0, 0, 0)),
        (64 + 64 - 1, None),
    ],
)
def test_greedy_takes_the_fastest_way_that_fits(memory: int, expected: Plan | None) -> None:
    assert greedy(chain(), memory) == expected


def test_greedy_may_block_its_own_way_where_the_selector_finds_one() -> None:
    """The first operator is faster in a layout that the second cannot read without a conversion."""
    first = (Way("a", ("NCHW",), "NHWC", 1.0), Way("b", ("NCHW",), "NCHW", 2.0))
    steps = (Step((0,), (1,), first), Step((1,), (2,), (Way("c", ("NCHW",), "NCHW", 1.0),)))
    sizes = ({"NCHW": 640, "NHWC": 640}, {"NCHW": 640, "NHWC": 640}, {"NCHW": 64, "NHWC": 64})
    problem = Problem(steps, sizes, {(1, "NHWC", "NCHW"): 1.0}, (0,), (2,))
    assert Solver(problem).fastest(memory=640).plan == (1, 0)
    assert greedy(problem, 640) is None
    assert greedy(problem, 1280) == (0, 0)
    assert greedy(dataclasses.replace(problem, conversions={})) is None


def wrong_at(problem: Problem, plan: Plan, memory: int | None) -> list[int]:
    """The steps at which some faster way would have fitted, or the way taken does not."""
    return [
        i
        for i, (step, taken) in enumerate(zip(problem.steps, plan, strict=True))
        if not fits(problem, plan[: i + 1], memory)
        or any(
            way.seconds < step.ways[taken].seconds and fits(problem, (*plan[:i], n), memory)
            for n, way in enumerate(step.ways)
        )
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_is_within_the_limit_and_never_better_than_the_exact_plan(seed: int) -> None:
    problem, found = small_problem(seed), 0
    solver = Solver(problem)
    for memory in (None, *(p.costs.peak for p in solver.frontier())):
        plan = greedy(problem, memory)
        if plan is not None:
            found += 1
            assert wrong_at(problem, plan, memory) == []
            assert memory is None or costs(problem, plan).peak <= memory
            assert solver.fastest(memory).costs.seconds <= costs(problem, plan).seconds
    assert found or len(problem.conversions) < 40


def test_a_plan_that_is_not_greedy_is_told_from_one_that_is() -> None:
    problem = chain()
    assert wrong_at(problem, (1, 1, 1), None) == [1]
    assert wrong_at(problem, (0, 2, 1), None) == [0]
    assert wrong_at(problem, (1, 2, 1), 64 + 64 + 512 - 1) == [1, 2]


# What fits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS[::3])
def test_a_beginning_that_fits_does_so_however_the_plan_goes_on(seed: int) -> None:
    """No plan needs more, up to its last operator, than its beginning was granted; whole plans as much."""
    problem = small_problem(seed)
    for plan, found in itertools.islice(every_plan(problem), 40):
        assert fits(problem, plan, found.peak)
        assert not fits(problem, plan, found.peak - 1)
        run = events(problem, plan)
        needed = profile(problem, run)
        operators = [i for i, event in enumerate(run) if event.way is not None]
        for length, at in enumerate(operators[:-2], 1):
            granted = 64 * bisect_left(
                range(1 << 14), True, key=lambda m: fits(problem, plan[:length], 64 * m)
            )
            assert max(needed[: at + 1]) <= granted


# A single primitive --------------------------------------------------------------------------------


def test_a_single_primitive_is_taken_wherever_it_fits_and_the_best_is_told() -> None:
    problem = chain()
    assert greedy(problem, None, "direct") == (0, 0, 0)
    assert greedy(problem, None, "im2row") == (1, 1, 1)  # elsewhere what is fastest
    assert single(problem, ("direct", "im2row", "winograd")) == ("im2row", (1, 1, 1))
    assert single(problem, ("direct", "winograd")) == ("direct", (0, 0, 0))
    assert single(problem, ("winograd",), 64 + 64 + 512 - 1) == ("winograd", (1, 1, 1))
    assert single(problem, ("direct", "winograd"), 64) is None


@pytest.mark.parametrize("seed", SEEDS[::2])
def test_a_single_primitive_is_never_better_than_the_exact_plan(seed: int) -> None:
    problem = small_problem(seed)
    renamed = tuple(
        dataclasses.replace(s, ways=tuple(dataclasses.replace(w, name=str(n)) for n, w in enumerate(s.ways)))
        for s in problem.steps
    )
    problem = dataclasses.replace(problem, steps=renamed)
    found = single(problem, ("0", "1", "2"))
    if found is not None:
        best = min(costs(problem, p).seconds for f in "012" if (p := greedy(problem, None, f)) is not None)
        assert Solver(problem).fastest().costs.seconds <= costs(problem, found[1]).seconds == best
