"""What constants take that several operators read: against the bytes of the graph pruned in truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph, Operator
from secateur.passes.prune import counted
from secateur.passes.prune.curves import curves
from secateur.passes.prune.extents import Extents, Point
from secateur.passes.prune.figures import weight_bytes
from secateur.passes.prune.optimize import Budget, Optimizer
from secateur.passes.prune.remove import remove
from secateur.passes.prune.sizes import with_own_constants

from . import nets
from .nets import Net


def shared() -> Graph:
    """Three convolutions of 16 channels by the same filters, the first two on the same image."""
    net = Net(3)
    x = net.relu(net.conv(net.x, 16))
    window: dict[str, object] = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1)}
    filters = net.constant(16, 16, 3, 3)
    first, second = (net.append("nn.conv", [x, filters], window) for _ in range(2))
    y = net.append("nn.conv", [net.relu(net.mul(first, second)), filters], window)
    return net.finished(net.conv(y, 8))


class Case:
    """`shared` with an optimizer, and what is truly left at some counts."""

    def __init__(self, refitted: bool = False) -> None:
        self.graph = shared()
        own = with_own_constants(self.graph.clone(), refitted)
        channels, fill = find_channels(own), np.random.default_rng(1)
        drawn = curves(channels, {g.name: fill.exponential(1.0, g.size) for g in channels.groups})
        self.optimizer = Optimizer(own, drawn, AnalyticCosts(find("rpi4")), most=3)

    def truly(self, counts: Mapping[int, int]) -> int:
        gone = {c.group.name: c.gone(counts[i]) for i, c in enumerate(self.optimizer.curves)}
        return weight_bytes(remove(self.graph, gone))


def test_a_shared_constant_counts_once_where_its_readers_keep_the_same() -> None:
    of = Case()
    every = [dict(enumerate(picked)) for picked in product(*of.optimizer.problem.counts)]
    assert len(every) > 8
    whole = weight_bytes(of.graph)
    assert of.optimizer.within(Budget(weights=whole)).loss == 0
    for share in (0.9, 0.75, 0.6):
        found = of.optimizer.within(Budget(weights=int(share * whole)))
        kept = dict(enumerate(found.kept.values()))
        assert found.spent == of.truly(kept) <= share * whole
        least = min(of.optimizer.loss(c) for c in every if of.truly(c) <= share * whole)
        assert found.loss == pytest.approx(least)


def test_filters_that_repair_fits_anew_count_once_for_each_reader() -> None:
    of = Case(refitted=True).optimizer
    filters = 16 * 16 * 9 * 4
    found = of.within(Budget(weights=weight_bytes(of.extents.graph)))
    assert found.spent == weight_bytes(of.extents.graph) == weight_bytes(shared()) + 2 * filters


@pytest.mark.parametrize("make", [nets.residual, nets.mobile, nets.dense])
def test_macs_at_other_counts_are_those_of_operators_there(make: Callable[[int], Graph]) -> None:
    channels = find_channels(graph := make(1))
    extents = Extents(graph, curves(channels, {g.name: np.ones(g.size) for g in channels.groups}))
    point = Point({number: size - 1 for number, size in enumerate(extents.sizes)})
    computed = [op for op in graph.operators if op.name != "nn.constant"]
    found = [extents.macs(op, point) for op in computed]
    assert found == [at.macs for op in computed if (at := extents.operator(op, point))]
    assert 0 < sum(found) < sum(op.macs for op in computed)


def test_macs_are_counted_without_making_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Case().optimizer.problem
    made: list[Operator] = []
    monkeypatch.setattr(Extents, "operator", lambda _self, op, _point: made.append(op))
    assert all(np.isfinite(rows).all() for _, rows in counted.macs(problem.extents, problem.domains))
    assert made == []
