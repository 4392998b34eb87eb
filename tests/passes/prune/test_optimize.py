"""Counts within a budget: against every combination, against HiGHS, and against what pruning really gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.channels import Channels, find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.model import read
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.prune import domains
from secateur.passes.prune.curves import Curve, curve, curves, transferred
from secateur.passes.prune.figures import weight_bytes
from secateur.passes.prune.optimize import Budget, Optimizer, Pruning
from secateur.passes.prune.problem import BudgetError
from secateur.passes.prune.remove import remove
from secateur.passes.select.graphs import problem_of
from secateur.passes.select.solver import Solver

from .nets import KINDS, cells, residual
from .weighed_milp import least_cost

MODEL = Path(__file__).parents[3] / "examples" / "digits" / "resnet20.onnx"


def passed(graph: Graph, pipeline: str) -> Graph:
    return PassManager(tuple(parse_pipeline(pipeline))).run(graph).graph


def drawn(channels: Channels, seed: int) -> tuple[Curve, ...]:
    """Importance of each unit at random, of groups on different scales."""
    choose = np.random.default_rng(seed)
    return curves(
        channels, {g.name: choose.exponential(choose.uniform(0.5, 2), g.size) for g in channels.groups}
    )


class Case:
    """A graph before fusion with its curves, and the optimizer of what fusion makes of it."""

    def __init__(self, graph: Graph, target: str, seed: int = 0, most: int = 3) -> None:
        self.graph = passed(graph, "canonicalize")
        self.costs = AnalyticCosts(find(target))
        self.channels = find_channels(self.graph)
        self.curves = drawn(self.channels, seed)
        fused = passed(self.graph, "fuse")
        self.optimizer = Optimizer(
            fused, list(transferred(self.curves, find_channels(fused).groups).values()), self.costs, most
        )

    def seconds(self, gone: Mapping[str, tuple[int, ...]]) -> float:
        """What selection plans for the graph pruned in truth."""
        pruned = passed(remove(self.graph, gone, self.channels), "fuse")
        return Solver(problem_of(pruned, self.costs).problem).fastest().costs.seconds

    def limit(self, share: float) -> float:
        """Seconds between the least that is possible (0) and those of the whole graph (1)."""
        with pytest.raises(BudgetError) as refused:
            self.optimizer.within(Budget(seconds=0.0))
        return refused.value.nearest + share * (self.optimizer.before - refused.value.nearest)

    def truly_gone(self, found: Pruning) -> dict[str, tuple[int, ...]]:
        """The units that go, by the names of the groups before fusion."""
        kept = list(found.kept.values())
        return {c.group.name: c.gone(n) for c, n in zip(self.curves, kept, strict=True)}

    def every(self) -> Iterator[tuple[float, float]]:
        """Seconds and loss of every combination of the counts that are weighed."""
        for picked in product(*self.optimizer.problem.counts):
            counts = dict(enumerate(picked))
            yield self.optimizer.seconds(counts), self.optimizer.loss(counts)


@cache
def case(kind: str, target: str, seed: int) -> Case:
    return Case(KINDS[kind](seed), target, seed)


@cache
def whole(most: int) -> Case:
    return Case(read(MODEL), "x86-64-v3", 3, most)


KINDS_AND_TARGETS = [
    ("residual", "rpi4", 0), ("residual", "x86-64-v3", 1), ("inception", "x86-64-v3", 2),
    ("dense", "x86-64-v3", 3), ("dense", "rpi4", 4), ("mobile", "rpi4", 5), ("mobile", "x86-64-v3", 6),
]  # fmt: skip


def test_a_sum_that_is_made_after_the_times_is_a_variable_of_its_own() -> None:
    fresh, asked = (Case(KINDS["inception"](2), "x86-64-v3", 2) for _ in range(2))
    limit = fresh.limit(0.5)
    assert asked.optimizer.problem.times.tables
    first = len(asked.optimizer.problem.domains.sizes)
    assert asked.optimizer.problem.domains._sum(((0, 1), (1, 1))) == first
    found, wanted = (of.optimizer.within(Budget(seconds=limit)) for of in (asked, fresh))
    assert (found.loss, found.seconds) == pytest.approx((wanted.loss, wanted.seconds), rel=1e-9)


# Against every combination -------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "target", "seed"), KINDS_AND_TARGETS)
def test_no_combination_within_the_time_loses_less(kind: str, target: str, seed: int) -> None:
    of = case(kind, target, seed)
    every = list(of.every())
    assert len(every) >= 4
    for share in (1.0, 0.8, 0.5, 0.2, 0.0):
        limit = of.limit(share)
        least = min(loss for seconds, loss in every if seconds <= limit * (1 + 1e-9))
        found = of.optimizer.within(Budget(seconds=limit))
        assert found.loss == pytest.approx(least)
        assert found.seconds <= limit * (1 + 1e-9)
        assert found.doubt == ""
        assert found.resolution == 0


@pytest.mark.parametrize(("kind", "target", "seed"), KINDS_AND_TARGETS[::2])
def test_no_combination_that_loses_as_little_is_faster(kind: str, target: str, seed: int) -> None:
    of = case(kind, target, seed)
    every = list(of.every())
    for loss in np.quantile([loss for _, loss in every], [0.1, 0.5, 0.9]):
        found = of.optimizer.within(Budget(loss=float(loss)))
        least = min(seconds for seconds, lost in every if lost <= loss * (1 + 1e-9))
        assert found.seconds == pytest.approx(least)
        assert found.loss <= loss * (1 + 1e-9)
        assert found.doubt == ""


@pytest.mark.parametrize("name", ["macs", "weights"])
def test_what_is_counted_is_kept_at_the_least_loss(name: str) -> None:
    of = case("residual", "rpi4", 0)

    def spent(counts: Mapping[int, int]) -> int:
        operators = [op for op in of.optimizer.extents.pruned(counts).operators if op.name != "nn.constant"]
        weights = sum(v.type.bytes for op in operators for v in op.operands if v.is_constant)
        return sum(op.macs for op in operators) if name == "macs" else weights

    every = [dict(enumerate(picked)) for picked in product(*of.optimizer.problem.counts)]
    for share in (0.8, 0.5):
        limit = int(share * spent({}))
        found = of.optimizer.within(Budget(**{name: limit}))
        assert found.spent <= limit
        assert found.spent == spent(dict(enumerate(found.kept.values())))
        assert found.loss == pytest.approx(min(of.optimizer.loss(c) for c in every if spent(c) <= limit))


@pytest.mark.parametrize(("kind", "target", "seed"), KINDS_AND_TARGETS[::2])
def test_the_arena_fits(kind: str, target: str, seed: int) -> None:
    """No counts that fit lose less than the bound; where the answer has no doubt it is the best."""
    of = case(kind, target, seed).optimizer
    every = [dict(enumerate(picked)) for picked in product(*of.problem.counts)]
    peaks = [of.peak(counts) for counts in every]
    for limit in (max(peaks), (min(peaks) + max(peaks)) // 2, min(peaks)):
        least = min(of.loss(c) for c, peak in zip(every, peaks, strict=True) if peak <= limit)
        found = of.within(Budget(arena=limit))
        assert found.spent <= limit
        assert found.spent == of.peak(dict(enumerate(found.kept.values())))
        assert found.bound <= least * (1 + 1e-9) <= found.loss * (1 + 1e-9) + 1e-9
        assert found.doubt or found.loss == pytest.approx(least)
    with pytest.raises(BudgetError, match="of arena"):
        of.within(Budget(arena=1))


SUMMED = {"inception": 2, "dense": 3, "cells": 4}  # kinds, and seeds


@pytest.mark.parametrize(("kind", "seed"), SUMMED.items())
def test_sums_of_groups_stand_for_their_terms(kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With sums as variables of their own, answers are those without."""
    of = case(kind, "x86-64-v3", seed)
    assert of.optimizer.problem.times
    monkeypatch.setattr(domains, "FEW", 0)
    other = Case(KINDS[kind](seed), "x86-64-v3", seed)
    assert len(other.optimizer.problem.domains.states) == len(other.curves)  # before anything is asked
    for share in (0.9, 0.6, 0.3):
        budget = Budget(seconds=of.limit(share))
        a, b = of.optimizer.within(budget), other.optimizer.within(budget)
        assert b.doubt == "" or b.seconds <= budget.given["seconds"] * 1.01
        assert a.loss == pytest.approx(b.loss)
    assert len(other.optimizer.problem.domains.states) > len(other.curves)


def test_a_group_that_is_concatenated_twice_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "FEW", 0)
    problem = Case(cells(4), "x86-64-v3", 4).optimizer.problem
    concat = next(op for op in problem.extents.graph.operators if op.name == "nn.concat")
    (total,) = problem.domains.of_operator(concat)
    ((of, _),) = problem.domains.states[total][0].sums
    assert sorted(times for _, times in of) == [1, 2]


@pytest.mark.parametrize("kind", ["inception", "dense"])
@pytest.mark.parametrize("limited", [("macs",), ("weights",), ("weights", "macs"), ("macs", "arena")])
def test_sums_of_groups_are_known_where_no_time_is_asked_first(
    kind: str, limited: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted makes the variables of sums itself, where tables of time did not."""
    seed = {"inception": 2, "dense": 3}[kind]
    of = case(kind, "x86-64-v3", seed)
    fused = of.optimizer.extents.graph
    macs = sum(op.macs for op in fused.operators)
    whole = {"macs": macs, "weights": weight_bytes(fused), "arena": of.optimizer.peak({})}
    budget = Budget(**{name: int(0.93 * whole[name]) for name in limited})
    monkeypatch.setattr(domains, "FEW", 0)
    other = Case(KINDS[kind](seed), "x86-64-v3", seed)
    assert other.optimizer.within(budget).loss == pytest.approx(of.optimizer.within(budget).loss)


# Against HiGHS -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.75, 0.5])
def test_a_whole_network_agrees_with_highs(share: float) -> None:
    of = whole(3).optimizer
    limit = share * of.before
    found = of.within(Budget(seconds=limit))
    wanted = least_cost(of.problem.domains.sizes, of.problem.pairs("seconds"), limit)
    assert wanted is not None
    assert found.loss == pytest.approx(wanted, rel=1e-6)


# Against the graph pruned in truth -----------------------------------------------------------------


@pytest.mark.parametrize(("kind", "target", "seed"), KINDS_AND_TARGETS)
def test_the_time_promised_is_the_pruned_graphs(kind: str, target: str, seed: int) -> None:
    of = case(kind, target, seed)
    assert of.optimizer.before == pytest.approx(of.seconds({}), rel=1e-9)
    for share in (0.7, 0.3):
        found = of.optimizer.within(Budget(seconds=of.limit(share)))
        assert found.gone
        assert of.seconds(of.truly_gone(found)) == pytest.approx(found.seconds, rel=1e-9)


def test_the_time_promised_for_a_whole_network_is_the_pruned_graphs() -> None:
    of = whole(6)
    found = of.optimizer.within(Budget(seconds=0.5 * of.optimizer.before))
    assert of.seconds(of.truly_gone(found)) == pytest.approx(found.seconds, rel=1e-9)
    assert found.loss == pytest.approx(
        sum(c.loss[n] for c, n in zip(of.curves, found.kept.values(), strict=True))
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_graph_by_its_types_is_the_graph_pruned(kind: str) -> None:
    of, choose = case(kind, "x86-64-v3", 11), np.random.default_rng(1)
    for _ in range(4):
        kept = [int(choose.integers(1, c.group.size + 1)) for c in of.curves]
        gone = {c.group.name: c.gone(n) for c, n in zip(of.curves, kept, strict=True)}
        truth = passed(remove(of.graph, gone, of.channels), "fuse")
        assert operators(of.optimizer.extents.pruned(dict(enumerate(kept)))) == operators(truth)


def operators(graph: Graph) -> list[object]:
    """What operators are, but for what constants hold."""
    return [
        (op.name, op.attributes, [v.type for v in (*op.operands, *op.results)])
        for op in graph.operators
        if op.name != "nn.constant"
    ]


@pytest.mark.parametrize(("kind", "target", "seed"), KINDS_AND_TARGETS)
def test_what_is_taken_for_its_time_loses_no_more_than_it_may(kind: str, target: str, seed: int) -> None:
    of = case(kind, target, seed)
    with pytest.raises(BudgetError) as refused:
        of.optimizer.within(Budget(macs=1))
    whole = sum(op.macs for op in of.optimizer.extents.graph.operators)
    middle = Budget(macs=int(refused.value.nearest + whole) // 2)
    least, fast = (of.optimizer.within(middle, slack) for slack in (0.0, 0.5))
    assert fast.seconds <= least.seconds
    assert least.loss <= fast.loss <= 1.5 * least.loss * (1 + 1e-9)
    assert fast.bound == least.bound >= fast.loss - fast.resolution - 1e-9


# Words ---------------------------------------------------------------------------------------------


def test_a_budget_that_cannot_be_kept_names_the_nearest() -> None:
    of = case("residual", "rpi4", 0)
    with pytest.raises(BudgetError, match="the least possible is") as refused:
        of.optimizer.within(Budget(seconds=1e-9))
    nearest = refused.value.nearest
    assert of.optimizer.within(Budget(seconds=nearest)).seconds == pytest.approx(nearest)
    with pytest.raises(BudgetError, match="multiply-accumulates"):
        of.optimizer.within(Budget(macs=1))


def test_a_budget_has_a_limit_and_loss_is_limited_alone() -> None:
    with pytest.raises(SecateurError, match="wants a limit"):
        Budget()
    with pytest.raises(SecateurError, match="cannot limit seconds, loss at the same time"):
        Budget(seconds=1.0, loss=1.0)


def test_with_nothing_to_gain_all_is_kept() -> None:
    of = case("residual", "rpi4", 0)
    found = of.optimizer.within(Budget(seconds=of.optimizer.before))
    assert found.loss == 0
    assert found.gone == {}


def test_groups_without_an_importance_keep_their_units() -> None:
    graph = passed(residual(0), "canonicalize,fuse")
    groups = find_channels(graph).groups
    only = curve(groups[0], np.arange(1.0, groups[0].size + 1))
    costs = AnalyticCosts(find("rpi4"))
    of = Optimizer(graph, [only], costs)
    found = of.within(Budget(seconds=0.99 * of.before))
    assert list(found.gone) == [groups[0].name]
    kept = found.kept[groups[0].name]
    assert found.gone[groups[0].name] == tuple(range(groups[0].size - kept))  # the least important first


def test_curves_refuse_what_is_no_importance() -> None:
    group = find_channels(passed(residual(0), "canonicalize")).groups[0]
    for wrong in (np.ones(group.size + 1), -np.ones(group.size), np.full(group.size, np.nan)):
        with pytest.raises(SecateurError, match="importance must be"):
            curve(group, wrong)
    with pytest.raises(SecateurError, match="no group 'nope'"):
        curves(find_channels(passed(residual(0), "canonicalize")), {"nope": np.ones(3)})
