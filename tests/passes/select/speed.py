"""How long the solver takes, beside HiGHS on the same problem: `python -m tests.passes.select.speed`.

Processor seconds. The first columns are of the problem as it is: its trellis, and the frontier on top. The
program for HiGHS counts memory without sharing, so the others are of the problem without it, for both: the
optimum, the least time within the middle limit of the frontier, and the whole frontier. What the solver takes
for these two includes the trellis; building HiGHS's programs is not counted. For a frontier HiGHS solves one
without a limit, then one for each point that asks for less memory than it: the last proves that none is left.
Where there are many, so many of them are solved, evenly spread, and stand for all ("about").
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.onnx_reader import read_model
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.select.graphs import problem_of
from secateur.passes.select.problem import Problem
from secateur.passes.select.solver import Solution, Solver
from secateur.tools.bench import models
from tests.passes.select.milp import Selection
from tests.passes.select.networks import synthetic
from tests.passes.select.problems import unshared

NETWORKS: tuple[str, ...] = ("resnet50", "googlenet", "densenet121")
NETWORKS += ("synthetic100x2", "synthetic300x2", "synthetic1000x2", "synthetic1000x3")
PATIENCE = 300.0  # seconds that HiGHS gets for a problem
SOLVED = 8  # of HiGHS's programs for a frontier
HEADS: tuple[str, ...] = ("network", "operators", "edges", "trellis", "frontier", "points")
HEADS += ("optimum", "HiGHS", "limit", "HiGHS", "points", "frontier", "HiGHS", "ratio")
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    return work(), time.process_time() - start


def network(name: str, folder: Path) -> Problem:
    """A model of the benchmark on x86-64-v3, or a synthetic network of operators x layouts."""
    if name.startswith("synthetic"):
        operators, layouts = map(int, name.removeprefix("synthetic").split("x"))
        return synthetic(operators, layouts)
    front = PassManager(parse_pipeline("canonicalize,fuse,canonicalize"))
    graph = front.run(read_model(models.save(name, folder))).graph
    return problem_of(graph, AnalyticCosts(find("x86-64-v3"))).problem


def highs(problem: Problem, limit: int | None, expected: float | None) -> float:
    """Seconds that HiGHS takes to the same answer, `expected` or none; infinite where that takes too long."""
    program = Selection(problem, limit)
    try:
        found, seconds = timed(lambda: program.solve(PATIENCE))
    except TimeoutError:
        return float("inf")
    agree = found is expected if found is None or expected is None else close(found, expected)
    assert agree, f"HiGHS found {found}, the solver {expected}"
    return seconds


def close(found: float, expected: float) -> bool:
    return abs(found - expected) <= 1e-6 * expected


def highs_frontier(problem: Problem, points: list[Solution]) -> tuple[float, bool]:
    """Seconds that HiGHS takes for all points, and whether it solved all programs for them."""
    limits = [*(p.costs.peak - 1 for p in points), None]
    answers = [None, *(p.costs.seconds for p in points)]
    count = min(SOLVED, len(limits))
    numbers = [round(i * (len(limits) - 1) / (count - 1)) for i in range(count)]
    seconds = [highs(problem, limits[i], answers[i]) for i in numbers]
    return sum(seconds) / count * len(limits), count == len(limits)


def shown(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < float("inf") else f"> {PATIENCE:.0f}"


def row(name: str, problem: Problem) -> tuple[str, ...]:
    solver, plain = Solver(problem), unshared(problem)
    trellis, building = timed(lambda: solver.trellis)
    points, sweeping = timed(solver.frontier)
    optimum, least = timed(Solver(plain).fastest)
    below, all_of_it = timed(Solver(plain).frontier)
    peak = below[len(below) // 2].costs.peak
    limited, bounded = timed(lambda: Solver(plain).fastest(peak))
    one = highs(plain, peak, limited.costs.seconds)
    every, whole = highs_frontier(plain, below) if one < float("inf") else (one, True)
    return (
        name,
        str(len(problem.steps)),
        str(trellis.edges),
        f"{building:.2f}",
        f"{sweeping:.2f}",
        str(len(points)),
        f"{least:.3f}",
        shown(highs(plain, None, optimum.costs.seconds)),
        f"{bounded:.2f}",
        shown(one),
        str(len(below)),
        f"{all_of_it:.2f}",
        shown(every) if whole else f"about {every:.0f}",
        f"{every / all_of_it:.0f}" if every < float("inf") else "",
    )


def main(names: tuple[str, ...]) -> None:
    print("| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
    for name in names:
        print("| " + " | ".join(row(name, network(name, Path("build") / "models"))) + " |", flush=True)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or NETWORKS)
