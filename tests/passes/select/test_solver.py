"""Questions to the solver: limits together, limits that nothing meets, and networks too wide to be sure."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from secateur.passes.select.bounds import Bounds
from secateur.passes.select.footprint import costs
from secateur.passes.select.labels import within_toll
from secateur.passes.select.problem import Costs, Plan, Problem, Sharing, Step, Way
from secateur.passes.select.search import build
from secateur.passes.select.solver import ImpossibleError, Solver
from secateur.passes.select.tolls import kept
from secateur.passes.select.trellis import CutShortError
from tests.passes.select.problems import best_points, every_plan, fan_out, small_problem
from tests.sampled import sampled

Plans = list[tuple[Plan, Costs]]
SEEDS = [s for s in range(80) if any(every_plan(small_problem(s)))]


def noises(plans: Plans) -> list[float]:
    """Limits on noise, from the least that is possible to none."""
    known = sorted({c.toll for _, c in plans})
    return [known[0], known[len(known) // 3], known[-1]]


@pytest.mark.parametrize("seed", sampled(SEEDS, SEEDS[::2]))
def test_least_time_under_two_limits_equals_that_of_trying_all_plans(seed: int) -> None:
    problem = small_problem(seed)
    plans, solver = list(every_plan(problem)), Solver(problem)
    peaks = sorted({c.peak for _, c in plans})
    for noise, memory in itertools.product(noises(plans), (peaks[0], peaks[len(peaks) // 2])):
        fitting = [c.seconds for _, c in plans if c.toll <= noise and c.peak <= memory]
        if fitting:
            found = solver.fastest(memory, noise)
            assert found.costs == costs(problem, found.plan)
            assert (found.costs.seconds, found.bound, found.doubt) == (min(fitting), min(fitting), "")
            assert found.costs.toll <= noise
            assert found.costs.peak <= memory
        else:
            with pytest.raises(ImpossibleError):
                solver.fastest(memory, noise)


@pytest.mark.parametrize("seed", sampled(SEEDS, SEEDS[::2]))
def test_least_memory_under_two_limits_equals_that_of_trying_all_plans(seed: int) -> None:
    problem = small_problem(seed)
    plans, solver = list(every_plan(problem)), Solver(problem)
    times = sorted({c.seconds for _, c in plans})
    for noise, seconds in itertools.product(noises(plans), (times[0], times[len(times) // 2])):
        fitting = [(c.peak, c.seconds) for _, c in plans if c.toll <= noise and c.seconds <= seconds]
        if fitting:
            found = solver.smallest(seconds, noise)
            assert (found.costs.peak, found.costs.seconds) == min(fitting)
            assert (found.bound, found.doubt) == (min(fitting)[0], "")
        else:
            with pytest.raises(ImpossibleError):
                solver.smallest(seconds, noise)


@pytest.mark.parametrize("seed", sampled(SEEDS, SEEDS[::2]))
def test_the_frontier_under_a_limit_on_noise_equals_that_of_trying_all_plans(seed: int) -> None:
    problem = small_problem(seed)
    plans = list(every_plan(problem))
    for noise in noises(plans):
        found = Solver(problem).frontier(noise)
        assert [(s.costs.peak, s.costs.seconds) for s in found] == best_points(
            [(p, c) for p, c in plans if c.toll <= noise]
        )


@pytest.mark.parametrize("seed", SEEDS[::4])
def test_rounded_noise_keeps_the_limit_and_its_bound_holds(seed: int) -> None:
    problem = small_problem(seed)
    plans = list(every_plan(problem))
    for noise in noises(plans):
        best = min(c.seconds for _, c in plans if c.toll <= noise)
        answer = within_toll(build(problem), noise, most=0)
        assert answer.bound <= best <= answer.course.seconds
        assert costs(problem, answer.course.plan).toll <= noise
        assert answer.resolution in (0, noise / 1024)


# Limits that nothing meets -------------------------------------------------------------------------


def test_too_little_memory_names_the_least() -> None:
    solver = Solver(fan_out(3))
    least = solver.smallest().costs.peak
    with pytest.raises(
        ImpossibleError, match=f"nothing fits in 1 bytes; the least possible is {least} bytes"
    ):
        solver.fastest(memory=1)


def test_too_little_time_names_the_least() -> None:
    with pytest.raises(ImpossibleError, match=r"nothing fits in 500ms; the least possible is 4s"):
        Solver(fan_out(3)).smallest(seconds=0.5)


def test_too_little_noise_names_the_least() -> None:
    problem = small_problem(4)
    least = min(c.toll for _, c in every_plan(problem))
    assert least > 0
    with pytest.raises(
        ImpossibleError,
        match=rf"nothing fits in a noise of 0 \(inf dB\); the least possible is {least:g} \(-[\d.]+ dB\)$",
    ):
        Solver(problem).fastest(toll=0)


def test_primitives_that_never_fit_together_are_refused() -> None:
    alone = dataclasses.replace(fan_out(2), conversions={})
    steps = tuple(dataclasses.replace(s, ways=s.ways[-1:]) for s in alone.steps[:2])
    impossible = dataclasses.replace(alone, steps=(*steps, alone.steps[2]))
    for ask in (Solver(impossible).fastest, Solver(impossible).smallest, Solver(impossible).frontier):
        with pytest.raises(ImpossibleError, match="no choice of primitives fits together"):
            ask()


# Bounds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", sampled(SEEDS, SEEDS[::2]))
def test_bounds_hold_for_every_plan(seed: int) -> None:
    problem = small_problem(seed)
    bounds, plans = Bounds(problem), [c for _, c in every_plan(problem)]
    assert bounds.peak <= min(c.peak for c in plans)
    for memory in {c.peak for c in plans}:
        best = min(c.seconds for c in plans if c.peak <= memory)
        assert bounds.seconds(memory, 10_000) <= best


def test_bounds_see_workspaces_and_results() -> None:
    bounds = Bounds(fan_out(3, workspace=640))
    assert bounds.peak == 64 * 3
    assert bounds.seconds(None, 10_000) == 4.0
    assert bounds.seconds(640 + 63, 10_000) > 4.0
    assert bounds.seconds(64 * 3 - 1, 10_000) == float("inf")


# Too wide ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS[::3])
def test_a_search_cut_short_says_so_and_its_bounds_hold(seed: int) -> None:
    problem = small_problem(seed)
    plans, solver = list(every_plan(problem)), Solver(problem, largest_layer=4, largest_table=8)
    fastest, smallest = min(c.seconds for _, c in plans), min(c.peak for _, c in plans)
    found = solver.fastest()
    assert found.bound <= fastest <= found.costs.seconds == costs(problem, found.plan).seconds
    assert found.doubt or found.costs.seconds == fastest
    least = solver.smallest()
    assert least.bound <= smallest <= least.costs.peak == costs(problem, least.plan).peak
    assert least.doubt or least.costs.peak == smallest
    for point in solver.frontier():
        best = min(c.seconds for _, c in plans if c.peak <= point.costs.peak)
        assert point.bound <= best <= point.costs.seconds
        assert point.doubt or point.costs.seconds == best


def test_a_wide_network_is_answered_with_a_bound_and_a_reason() -> None:
    limit = 1200
    found = Solver(fan_out(14, workspace=640), largest_layer=200).fastest(memory=limit)
    assert found.doubt.startswith("step ")
    assert found.doubt.endswith("combinations of live layouts")
    assert found.bound <= found.costs.seconds
    assert found.costs.peak <= limit


def one_way_on(conversions: dict[tuple[int, str, str], float]) -> Problem:
    """Of two layouts of the first result the one that is made faster leads nowhere."""
    ways = (Way("b", ("NCHW",), "NHWC", 2.0), Way("a", ("NCHW",), "NCHW", 1.0))
    steps = (Step((0,), (1,), ways), Step((1,), (2,), (Way("c", ("NHWC",), "NCHW", 1.0),)))
    return Problem(steps, ({"NCHW": 64, "NHWC": 64},) * 3, conversions, (0,), (2,))


def test_a_search_that_ends_nowhere_leaves_the_local_optimum() -> None:
    problem = one_way_on({(1, "NHWC", "NCHW"): 1.0})
    with pytest.raises(CutShortError, match="step 0 has 2 ways to go on from 1 combinations"):
        build(problem, largest=1)
    solver = Solver(problem, largest_layer=1)
    assert solver.trellis.left_out == "step 0 has 2 ways to go on from 1 combinations of live layouts"
    found = solver.smallest()
    assert (found.bound, found.doubt) == (64, "")  # the bound is reached, and so proves the plan
    assert found.costs == costs(problem, (0, 0)) == Costs(3.0, 64, 0.0)
    with pytest.raises(ImpossibleError, match=r"nothing was found within 63 bytes.* 64 .*not all was tried"):
        Solver(problem, largest_layer=1).fastest(memory=63)


def test_primitives_that_fit_together_but_are_not_found_are_refused_with_the_reason() -> None:
    """Two steps must change together: no single change leads out of what is impossible."""
    ways = tuple(Way(x, (x,), x, seconds) for x, seconds in (("NCHW", 1.0), ("NHWC", 2.0)))
    first = tuple(dataclasses.replace(way, wants=("NCHW",)) for way in ways)
    last = (Way("c", ("NHWC",), "NCHW", 1.0),)
    steps = (Step((0,), (1,), first), Step((1,), (2,), ways), Step((2,), (3,), last))
    problem = Problem(steps, ({"NCHW": 64, "NHWC": 64},) * 4, {}, (0,), (3,))
    assert Solver(problem).smallest().costs.seconds == 5
    with pytest.raises(
        ImpossibleError, match="no primitives that fit together were found: step 0 has 2 ways"
    ):
        Solver(problem, largest_layer=1).smallest()


def test_the_frontier_of_a_wide_network_ends_with_the_plan_of_elimination() -> None:
    solver = Solver(fan_out(14, workspace=640), largest_layer=20)
    points = solver.frontier()
    assert points[-1].costs == solver.fastest().costs
    assert [p.doubt == "" for p in points] == [*[False] * (len(points) - 1), True]
    for before, after in itertools.pairwise(points):
        assert before.costs.peak < after.costs.peak
        assert before.costs.seconds > after.costs.seconds


def test_a_limit_on_memory_may_leave_few_enough_plans_to_try_them_all() -> None:
    found = Solver(fan_out(14, workspace=640), largest_layer=2000)
    assert found.trellis.left_out
    assert found.fastest(memory=64 * 15).doubt == ""


def test_a_plan_of_elimination_needs_no_trellis() -> None:
    """Fan-out is wide for the schedule and narrow for elimination: exact without a limit on memory."""
    found = Solver(fan_out(40), largest_layer=10).fastest()
    assert (found.costs.seconds, found.bound, found.doubt) == (41.0, 41.0, "")


def test_random_problems_reach_every_kind_of_sharing() -> None:
    kinds = {way.sharing for seed in range(20) for step in small_problem(seed).steps for way in step.ways}
    assert kinds == set(Sharing)


@pytest.mark.parametrize(
    "value", [4.1 + 0.1, 0.1 + 0.2, 1 / 3, 2 / 3, 5.310144999e-5, 7.0, 123456.4, 1e-9, 0.0]
)
def test_a_limit_that_is_named_is_kept(value: float) -> None:
    """Six digits, never below the value but by rounding of sums."""
    assert value * (1 - 1e-12) <= float(kept(value)) <= value * (1 + 1e-5)


def test_round_numbers_stay() -> None:
    assert [kept(x) for x in (4.1 + 0.1, 7.0, 1 / 3, 2 / 3)] == ["4.2", "7", "0.333334", "0.666667"]
