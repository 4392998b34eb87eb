"""How long the solver takes, beside HiGHS on the same problem: `python -m tests.passes.selection.speed`.

Processor seconds. The program for HiGHS counts memory without sharing, so both get the problem without it
for the optimum and for the limit, which is the middle one of that problem's frontier ("unshared" points).
What the solver takes for the limit includes the trellis; building HiGHS's program is not counted. For a
frontier HiGHS would have to solve such a program for each point, and one more to prove that none is below.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from secateur.codegen.costs import AnalyticCosts
from secateur.codegen.targets import find
from secateur.ir.onnx_reader import read_model
from secateur.passes.manager import PassManager
from secateur.passes.pipeline import parse_pipeline
from secateur.passes.selection.graphs import problem_of
from secateur.passes.selection.problem import Problem
from secateur.passes.selection.solver import Solver
from secateur.tools import models
from tests.passes.selection.milp import Selection
from tests.passes.selection.networks import synthetic
from tests.passes.selection.problems import unshared

NETWORKS = ("resnet50", "googlenet", "densenet121", "synthetic100x2", "synthetic1000x2", "synthetic1000x3")
PATIENCE = 300.0  # seconds that HiGHS gets for a problem
HEADS: tuple[str, ...] = ("network", "operators", "edges", "trellis", "frontier", "points")
HEADS += ("optimum", "HiGHS", "unshared", "limit", "HiGHS")
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


def highs(problem: Problem, limit: int | None, expected: float) -> str:
    """Seconds that HiGHS takes to the same least time."""
    program = Selection(problem, limit)
    try:
        found, seconds = timed(lambda: program.solve(PATIENCE))
    except TimeoutError:
        return f"> {PATIENCE:.0f}"
    assert found is not None, "the solver found a plan"
    assert abs(found - expected) <= 1e-6 * expected, f"HiGHS found {found}, the solver {expected}"
    return f"{seconds:.2f}"


def row(name: str, problem: Problem) -> tuple[str, ...]:
    solver, plain = Solver(problem), unshared(problem)
    trellis, building = timed(lambda: solver.trellis)
    points, sweeping = timed(solver.frontier)
    optimum, least = timed(Solver(plain).fastest)
    below = Solver(plain).frontier()
    peak = below[len(below) // 2].costs.peak
    limited, bounded = timed(lambda: Solver(plain).fastest(peak))
    return (
        name,
        str(len(problem.steps)),
        str(trellis.edges),
        f"{building:.2f}",
        f"{sweeping:.2f}",
        str(len(points)),
        f"{least:.3f}",
        highs(plain, None, optimum.costs.seconds),
        str(len(below)),
        f"{bounded:.2f}",
        highs(plain, peak, limited.costs.seconds),
    )


def main(names: tuple[str, ...]) -> None:
    print("| " + " | ".join(HEADS) + " |\n" + "|---" * len(HEADS) + "|")
    for name in names:
        print("| " + " | ".join(row(name, network(name, Path("build") / "models"))) + " |", flush=True)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or NETWORKS)
