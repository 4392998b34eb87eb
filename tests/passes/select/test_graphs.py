"""The solver's count of memory against what layout conversion and memory planning make of a plan."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.choice import Choice
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.onnx_reader import read_model
from secateur.ir.parser import parse_graph
from secateur.ir.types import ROW_MAJOR, Layout, TensorType, blocked
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.layout import insert_conversions
from secateur.passes.memory.arena import lower_bound
from secateur.passes.memory.liveness import analyse
from secateur.passes.memory.memory import Memory, arena_report
from secateur.passes.select.footprint import costs
from secateur.passes.select.frontier import frontier
from secateur.passes.select.graphs import GraphProblem, problem_of
from secateur.passes.select.problem import Plan
from secateur.passes.select.search import build
from secateur.passes.select.select import decided
from secateur.passes.select.solver import Solver
from secateur.tools.bench import models
from tests.passes.test_random_graphs import networks
from tests.sampled import sampled

BRANCHES = """
graph @branches(%x: tensor<1x16x8x8xf32>) {
  %a = nn.relu(%x) : tensor<1x16x8x8xf32>
  %b = nn.sigmoid(%a) : tensor<1x16x8x8xf32>
  %c = nn.tanh(%a) : tensor<1x16x8x8xf32>
  %d = nn.concat(%b, %c) {axis = 1} : tensor<1x32x8x8xf32>
  %e = nn.relu(%d) : tensor<1x32x8x8xf32>
  %f = nn.concat(%c, %a) {axis = 1} : tensor<1x32x8x8xf32>
  %g = nn.add(%e, %f) : tensor<1x32x8x8xf32>
  %h = nn.reshape(%g) {shape = [1, 2048]} : tensor<1x2048xf32>
  %i = nn.reshape(%h) {shape = [1, 32, 8, 8]} : tensor<1x32x8x8xf32>
  %j = nn.add(%i, %g) : tensor<1x32x8x8xf32>
  return %j as "y", %d as "z"
}
"""


class TwoLayouts:
    """Every operator on images in two layouts with random times and workspaces; joins and views too."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        kinds = {"nn.concat": ("join", "copy"), "nn.reshape": ("view",)}.get(op.name, ("some",))
        images = all(v.type.rank == 4 for v in (*op.operands, *op.results))
        return tuple(
            Choice(
                kind,
                (x,) * len(op.operands),
                y,
                self.choose.choice([0, 100, 4096]),
                self.choose.random(),
                keeps=self.choose.choice([(), (), (0,), (1,), (0, 1)]),
            )
            for kind in kinds
            for x in (ROW_MAJOR, *([blocked(8)] if images else []))
            for y in (ROW_MAJOR, *([blocked(8)] if images else []))
            if x == y or kind == "some"
        )

    def conversion(self, _type: TensorType, source: Layout, destination: Layout) -> float:
        return 0.0 if source == destination else 0.1

    def weight_bytes(self, _op: Operator, _choice: Choice) -> int:
        return 0


def planned_bytes(found: GraphProblem, plan: Plan, graph: Graph) -> int:
    """What the passes after selection need at least for a plan."""
    laid_out = insert_conversions(decided(graph, found.decisions(plan)))
    Memory().run(laid_out)
    return lower_bound(analyse(laid_out).buffers)


@pytest.mark.parametrize("seed", range(40))
def test_the_count_of_any_plan_is_that_of_the_memory_pass(seed: int) -> None:
    graph = parse_graph(BRANCHES)
    found = problem_of(graph, TwoLayouts(seed))
    choose = random.Random(seed)
    plan = tuple(choose.randrange(len(step.ways)) for step in found.problem.steps)
    assert costs(found.problem, plan).peak == planned_bytes(found, plan, graph)


@settings(max_examples=60)
@given(networks(), st.integers(0, 1000))
def test_the_count_for_random_networks_is_that_of_the_memory_pass(graph: Graph, seed: int) -> None:
    found = problem_of(graph, TwoLayouts(seed))
    choose = random.Random(seed)
    plan = tuple(choose.randrange(len(step.ways)) for step in found.problem.steps)
    assert costs(found.problem, plan).peak == planned_bytes(found, plan, graph)


@pytest.mark.parametrize("seed", range(5))
def test_every_point_of_a_frontier_is_what_the_memory_pass_reaches(seed: int) -> None:
    graph = parse_graph(BRANCHES)
    found = problem_of(graph, TwoLayouts(seed))
    trellis = build(found.problem)
    for point in frontier(trellis):
        assert planned_bytes(found, point.plan, graph) == point.peak


def by_name(noises: dict[str, float]) -> Callable[[Operator, Choice], float]:
    return lambda _, choice: noises.get(choice.primitive, 0.0)


class DearCopies(TwoLayouts):
    """As its base, where a join takes no time and a copy a second."""

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        seconds = {"join": 0.0, "copy": 1.0}
        found = super().choices(op)
        return tuple(replace(c, seconds=seconds.get(c.primitive, c.seconds)) for c in found)


def test_a_limit_on_noise_makes_one_of_two_joins_a_copy() -> None:
    noisy = problem_of(parse_graph(BRANCHES), DearCopies(0), by_name({"join": 1.0}))
    fast, slow = Solver(noisy.problem).fastest(), Solver(noisy.problem).fastest(toll=1.0)
    assert (fast.costs.toll, slow.costs.toll) == (2.0, 1.0)
    assert [c.primitive for _, c in noisy.decisions(slow.plan)].count("copy") == 1


def test_infinite_noise_forbids_a_choice() -> None:
    graph = parse_graph(BRANCHES)
    for noise, joins in ((1.0, True), (math.inf, False)):
        found = problem_of(graph, TwoLayouts(0), by_name({"join": noise}))
        assert any(c.primitive == "join" for options in found.choices for c in options) == joins
    with pytest.raises(SecateurError, match=r"nn\.reshape: every primitive that it could have is forbidden"):
        problem_of(graph, TwoLayouts(0), by_name({"view": math.inf}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sampled(["googlenet", "resnet50", "densenet121", "mobilenet-v2"], ["googlenet", "mobilenet-v2"])
)
def test_the_arena_of_a_real_network_is_as_predicted(name: str, tmp_path: Path) -> None:
    front = PassManager(parse_pipeline("canonicalize,fuse,canonicalize"))
    graph = front.run(read_model(models.save(name, tmp_path))).graph
    found = problem_of(graph, AnalyticCosts(find("x86-64-v3")))
    trellis = build(found.problem)
    for point in frontier(trellis):
        plan = decided(graph, found.decisions(point.plan))
        report = arena_report(Memory().run(insert_conversions(plan)))
        assert point.peak == report.lower_bound == report.peak
