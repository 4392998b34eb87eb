"""Blocks that go whole: against every combination, HiGHS, and the graph without them in truth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations, product

import numpy as np
import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph
from secateur.passes.prune.criteria.branches import bypassed, find_branches
from secateur.passes.prune.curves import transferred
from secateur.passes.prune.optimize import Budget, Optimizer, Pruning
from secateur.passes.prune.problem import BudgetError
from secateur.passes.prune.remove import remove
from secateur.passes.select.graphs import problem_of
from secateur.passes.select.solver import Solver

from .nets import Net, residual
from .test_optimize import drawn, operators, passed
from .weighed_milp import least_cost

Gone = frozenset[int]


def projected(seed: int, width: int = 16) -> Graph:
    """Two blocks, of which the first has a convolution on its skip too."""
    net = Net(seed, size=6)
    x = net.relu(net.conv(net.x, 8))
    inner = net.conv(net.relu(net.conv(x, width, stride=2)), 24)
    x = net.relu(net.add(inner, net.conv(x, 24, 1, 2)))
    x = net.relu(net.add(net.conv(net.relu(net.conv(x, 8)), 24), x))
    return net.finished(x)


def linear(seed: int) -> Graph:
    """Blocks whose sums pass no activation, with an activation in front of the last layer."""
    net = Net(seed, size=6)
    x = net.conv(net.x, 8)
    for _ in range(2):
        x = net.add(net.conv(net.relu(net.conv(x, 16, 1)), 8, 1), x)
    return net.finished(net.relu(x))


KINDS = {"residual": residual, "projected": projected, "linear": linear}
CASES = [(kind, target) for kind in KINDS for target in ("rpi4", "x86-64-v3")]


class Case:
    """A graph whose blocks may go, with losses at random, and its optimizer."""

    def __init__(self, kind: str, target: str, seed: int = 1) -> None:
        self.graph = passed(KINDS[kind](seed), "canonicalize")
        self.costs = AnalyticCosts(find(target))
        self.channels = find_channels(self.graph)
        self.branches = find_branches(self.graph)
        self.curves = drawn(self.channels, seed)
        fused = passed(self.graph, "fuse")
        there = list(transferred(self.curves, find_channels(fused).groups).values())
        losses = np.random.default_rng(seed).uniform(1, 10, len(self.branches))
        pairs = list(zip(self.branches, losses.tolist(), strict=True))
        self.optimizer = Optimizer(fused, there, self.costs, 3, branches=pairs)
        self.plain = Optimizer(fused, there, self.costs, 3)

    def truth(self, found: Pruning) -> Graph:
        """The graph pruned so, fused."""
        kept = list(found.kept.values())
        gone = {c.group.name: c.gone(n) for c, n in zip(self.curves, kept, strict=True)}
        of = [b for b in self.branches if b.name in found.branches]
        return passed(remove(self.graph, gone, self.channels, bypassed(of)), "canonicalize,fuse")

    def seconds(self, graph: Graph) -> float:
        return Solver(problem_of(graph, self.costs).problem).fastest().costs.seconds

    def limit(self, share: float) -> float:
        """Seconds between the least that is possible (0) and those of the whole graph (1)."""
        with pytest.raises(BudgetError) as refused:
            self.optimizer.within(Budget(seconds=0.0))
        return refused.value.nearest + share * (self.optimizer.before - refused.value.nearest)

    def every(self) -> Iterator[tuple[dict[int, int], Gone]]:
        """All counts that are weighed, with all branches that may go."""
        numbers = range(len(self.optimizer.bypasses))
        for picked in product(*self.optimizer.problem.counts):
            for size in range(len(numbers) + 1):
                for gone in combinations(numbers, size):
                    yield dict(enumerate(picked)), frozenset(gone)


@cache
def case(kind: str, target: str) -> Case:
    return Case(kind, target)


@pytest.mark.parametrize(("kind", "target"), CASES)
def test_every_block_is_found_in_the_fused_graph(kind: str, target: str) -> None:
    of = case(kind, target)
    assert [b.name for b in of.optimizer.bypasses] == [b.name for b in of.branches]
    assert len(of.branches) == 2


@pytest.mark.parametrize(("kind", "target"), CASES)
def test_no_counts_and_blocks_within_the_time_lose_less(kind: str, target: str) -> None:
    of = case(kind, target).optimizer
    every = [(of.seconds(*c), of.loss(*c)) for c in case(kind, target).every()]
    least = case(kind, target).limit(0.0)
    assert least == pytest.approx(min(seconds for seconds, _ in every))
    blocks = set()
    for share in (0.9, 0.6, 0.3, 0.1, 0.0):
        limit = least + share * (of.before - least)
        found = of.within(Budget(seconds=limit))
        assert found.loss == pytest.approx(min(lost for s, lost in every if s <= limit * (1 + 1e-9)))
        assert found.seconds <= limit * (1 + 1e-9)
        assert found.doubt == ""
        blocks |= {*found.branches}
    assert blocks


@pytest.mark.parametrize(("kind", "target"), CASES)
def test_no_counts_and_blocks_that_lose_as_little_are_faster(kind: str, target: str) -> None:
    of = case(kind, target).optimizer
    every = [(of.seconds(*c), of.loss(*c)) for c in case(kind, target).every()]
    for loss in np.quantile([lost for _, lost in every], [0.1, 0.5, 0.9]):
        found = of.within(Budget(loss=float(loss)))
        assert found.seconds == pytest.approx(min(s for s, lost in every if lost <= loss * (1 + 1e-9)))
        assert found.doubt == ""


@pytest.mark.parametrize("name", ["macs", "weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_counted_is_kept_at_the_least_loss(kind: str, name: str) -> None:
    of = case(kind, "rpi4").optimizer

    def spent(counts: dict[int, int], gone: Gone) -> int:
        left = [op for op in of.extents.pruned(counts, gone).operators if op.name != "nn.constant"]
        weights = sum(v.type.bytes for op in left for v in op.operands if v.is_constant)
        return sum(op.macs for op in left) if name == "macs" else weights

    every = [(spent(*c), of.loss(*c)) for c in case(kind, "rpi4").every()]
    least, whole = min(cost for cost, _ in every), spent({}, frozenset())
    for share in (0.7, 0.3, 0.0):
        limit = int(least + share * (whole - least))
        found = of.within(Budget(**{name: limit}))
        assert found.spent <= limit
        assert found.loss == pytest.approx(min(lost for cost, lost in every if cost <= limit))


@pytest.mark.parametrize(("kind", "target"), CASES)
def test_the_arena_fits(kind: str, target: str) -> None:
    of = case(kind, target).optimizer
    every = [(of.peak(*c), of.loss(*c)) for c in case(kind, target).every()]
    peaks = [peak for peak, _ in every]
    for limit in (max(peaks), (min(peaks) + max(peaks)) // 2, min(peaks)):
        least = min(lost for peak, lost in every if peak <= limit)
        found = of.within(Budget(arena=limit))
        assert found.spent <= limit
        assert found.bound <= least * (1 + 1e-9) <= found.loss * (1 + 1e-9) + 1e-9
        assert found.doubt or found.loss == pytest.approx(least)


@pytest.mark.parametrize(("kind", "target"), CASES)
def test_what_is_promised_is_the_graph_without_the_blocks(kind: str, target: str) -> None:
    of = case(kind, target)
    for share in (0.5, 0.1):
        found = of.optimizer.within(Budget(seconds=of.limit(share)))
        assert of.seconds(of.truth(found)) <= found.seconds * (1 + 1e-9)
        if kind != "linear":
            assert of.seconds(of.truth(found)) == pytest.approx(found.seconds, rel=1e-9)


@pytest.mark.parametrize("kind", ["residual", "projected"])
def test_the_graph_by_its_types_is_the_graph_without_the_blocks(kind: str) -> None:
    of = case(kind, "rpi4")
    for gone in ({0}, {1}, {0, 1}):
        lean = remove(of.graph, {}, of.channels, bypassed(of.branches[n] for n in gone))
        truth = passed(lean, "canonicalize,fuse")
        assert operators(of.optimizer.extents.pruned({}, frozenset(gone))) == operators(truth)


@pytest.mark.parametrize(("kind", "target"), CASES)
def test_where_blocks_may_go_no_more_is_lost(kind: str, target: str) -> None:
    of = case(kind, target)
    with pytest.raises(BudgetError) as refused:
        of.plain.within(Budget(seconds=0.0))
    for share in (0.8, 0.3, 0.0):
        budget = Budget(seconds=refused.value.nearest * (1 - share) + of.plain.before * share)
        assert of.optimizer.within(budget).loss <= of.plain.within(budget).loss * (1 + 1e-9)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_highs_agrees(share: float) -> None:
    of = case("residual", "x86-64-v3").optimizer
    limit = share * of.before
    found = of.within(Budget(seconds=limit))
    assert found.loss == pytest.approx(
        least_cost(of.problem.domains.sizes, of.problem.pairs("seconds"), limit), rel=1e-6
    )
