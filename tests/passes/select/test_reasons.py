"""Runners-up, against the cost of the whole plan with one choice changed."""

from __future__ import annotations

import dataclasses
import math

import pytest

from secateur.ir.choice import Choice
from secateur.ir.graph import Operator
from secateur.ir.parser import parse_graph
from secateur.passes.select.footprint import costs
from secateur.passes.select.graphs import problem_of
from secateur.passes.select.reasons import reasons
from secateur.passes.select.select import decided, select
from secateur.passes.select.solver import Solver
from tests.passes.select.test_select import CHAIN, Table

TABLES = [Table(1, 3, 0.1), Table(1, 1.2, 9), Table(1, 2, 0.5), Table(2, 1, 0.3)]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("number", range(16))
def test_the_loss_is_what_the_network_loses_conversions_included(table: Table, number: int) -> None:
    """Whatever the plan: all sixteen of four operators with two primitives each."""
    graph = parse_graph(CHAIN)
    found = problem_of(graph, table)
    plan = tuple(number >> i & 1 for i in range(4))
    known = reasons(graph, decided(graph, found.decisions(plan)), table)
    assert len(known) == len(plan)
    for i, reason in enumerate(known):
        other = tuple(1 - way if i == j else way for j, way in enumerate(plan))
        change = costs(found.problem, other).seconds - costs(found.problem, plan).seconds
        assert reason.loss == pytest.approx(change, abs=1e-12)
        assert reason.choice == found.choices[i][plan[i]]
        assert reason.runner_up == found.choices[i][other[i]]


@pytest.mark.parametrize("table", TABLES)
def test_without_a_limit_no_runner_up_is_faster(table: Table) -> None:
    graph = parse_graph(CHAIN)
    found = reasons(graph, select(graph, table), table)
    assert len(found) == 4
    assert min(reason.loss for reason in found) >= -1e-12


def test_a_faster_runner_up_takes_more_memory() -> None:
    """Each operator of the leanest plan that would be faster in blocks has no room for their workspace."""
    graph, table = parse_graph(CHAIN), Table(1, 3, 0)
    found = problem_of(graph, table)
    lean = Solver(found.problem).smallest()
    known = reasons(graph, decided(graph, found.decisions(lean.plan)), table)
    faster = [i for i, reason in enumerate(known) if reason.loss < 0]
    assert faster
    for i in faster:
        other = (*lean.plan[:i], 1 - lean.plan[i], *lean.plan[i + 1 :])
        assert costs(found.problem, other).peak > lean.costs.peak


def test_the_nearest_of_several_is_the_runner_up() -> None:
    class Many(Table):
        def choices(self, op: Operator) -> tuple[Choice, ...]:
            first, *_ = super().choices(op)
            return tuple(
                dataclasses.replace(first, primitive=f"p{s}", workspace=9 - s, seconds=s) for s in (5, 1, 3)
            )

    graph, table = parse_graph(CHAIN), Many(1, 3, 0.1)
    assert {
        reason.runner_up.primitive
        for reason in reasons(graph, select(graph, table), table)
        if reason.runner_up
    } == {"p3"}


def test_the_only_primitive_has_no_runner_up() -> None:
    class Single(Table):
        def choices(self, op: Operator) -> tuple[Choice, ...]:
            return super().choices(op)[:1]

    graph, table = parse_graph(CHAIN), Single(1, 3, 0.1)
    (loss,) = {reason.loss for reason in reasons(graph, select(graph, table), table)}
    assert loss == math.inf
