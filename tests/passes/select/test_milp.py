"""The solver against an independent mixed-integer linear program, on networks too large to try all plans."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.onnx_reader import read_model
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.select.graphs import problem_of
from secateur.passes.select.problem import Problem
from secateur.passes.select.solver import ImpossibleError, Solver
from secateur.tools.bench import models
from tests.passes.select.milp import least_seconds
from tests.passes.select.networks import inception_like
from tests.passes.select.problems import fan_out, random_problem, unshared


def usable(problem: Problem) -> bool:
    """Whether the program covers it: no step reads a value twice."""
    return all(len(set(step.operands)) == len(step.operands) for step in problem.steps)


RANDOM = {
    seed: problem
    for seed in range(120)
    if usable(problem := unshared(random_problem(random.Random(seed), 4 + seed % 8, 2)))
}


def check(problem: Problem, points: int) -> None:
    """Least time at so many points of the frontier, and just below each where there must be less to gain."""
    frontier = Solver(problem).frontier()
    assert least_seconds(problem) == pytest.approx(frontier[-1].costs.seconds)
    for before, point in list(zip([None, *frontier[:-1]], frontier, strict=True))[:points]:
        peak = point.costs.peak
        assert least_seconds(problem, peak) == pytest.approx(point.costs.seconds)
        below = least_seconds(problem, peak - 1)
        assert below == (pytest.approx(before.costs.seconds) if before else None)


@pytest.mark.parametrize("seed", list(RANDOM)[:30])
def test_random_networks(seed: int) -> None:
    problem = RANDOM[seed]
    if least_seconds(problem) is None:
        with pytest.raises(ImpossibleError):
            Solver(problem).frontier()
    else:
        check(problem, points=4)


@pytest.mark.parametrize("seed", range(3))
def test_inception_like_networks(seed: int) -> None:
    check(unshared(inception_like(modules=1, seed=seed)), points=3)


def test_the_program_tells_a_wrong_time_from_a_right_one() -> None:
    problem = fan_out(3)
    faster = dataclasses.replace(problem.steps[0].ways[0], seconds=0.25)
    step = dataclasses.replace(problem.steps[0], ways=(faster, *problem.steps[0].ways[1:]))
    changed = dataclasses.replace(problem, steps=(step, *problem.steps[1:]))
    assert least_seconds(problem) == pytest.approx(4.0)
    assert least_seconds(changed) == pytest.approx(3.25)


def test_the_program_tells_a_byte_too_few() -> None:
    problem = fan_out(3)
    least = Solver(problem).smallest().costs.peak
    assert least_seconds(problem, least) is not None
    assert least_seconds(problem, least - 1) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1.1", "googlenet"])
def test_real_networks(name: str, tmp_path: Path) -> None:
    front = PassManager(parse_pipeline("canonicalize,fuse,canonicalize"))
    graph = front.run(read_model(models.save(name, tmp_path))).graph
    check(unshared(problem_of(graph, AnalyticCosts(find("x86-64-v3"))).problem), points=2)
