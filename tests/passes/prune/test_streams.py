"""Streams of opened sums: what is one group, in which order, and what is lost between two of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.find import find
from secateur.ir import interpreter
from secateur.ir.channels import find_channels
from secateur.ir.graph import Array, Graph
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.closing import close_sums
from secateur.passes.fuse.fuse import fused_open
from secateur.passes.fuse.opening import open_sums
from secateur.passes.prune.criteria.criterion import Evidence
from secateur.passes.prune.criteria.registry import rankings
from secateur.passes.prune.curves import transferred
from secateur.passes.prune.linear.moments import Data
from secateur.passes.prune.open_costs import OpenCosts
from secateur.passes.prune.optimize import Budget, Optimizer
from secateur.passes.prune.problem import Carried
from secateur.passes.prune.remove import remove
from secateur.passes.prune.streams import SUM, Streams, find_streams

from .calibrated import batches
from .nets import Net, residual

TARGET = find("rpi4")
BLOCKS = 2


@pytest.fixture(scope="module")
def opened() -> Graph:
    graph = Canonicalize().run(residual(3, blocks=BLOCKS))
    open_sums(graph)
    graph.remove_dead()
    return graph


@pytest.fixture(scope="module")
def streams(opened: Graph) -> Streams:
    return find_streams(opened, find_channels(opened))


def test_a_sum_is_one_group_with_the_rows_and_channels_that_serve_it(streams: Streams) -> None:
    names = [group.name for group in streams.groups]
    assert len(streams.streams) == 1 + BLOCKS  # the stem's too
    assert len(streams.links) == BLOCKS
    assert len(names) == len(streams.streams) + BLOCKS  # and a convolution within each block
    assert not any(name.endswith("/carried") for name in names)


def test_a_sum_of_a_group_with_itself_carries_nothing_on() -> None:
    """GELU by Tanh multiplies x by a function of x + c x^3: what the sum keeps is what its terms keep."""
    net = Net(0, size=6)
    x = net.relu(net.conv(net.x, 8))
    function = net.add(x, net.mul(x, net.mul(x, x)))
    graph = Canonicalize().run(net.finished(net.mul(x, function)))
    open_sums(graph)
    graph.remove_dead()
    assert SUM in {op.name for op in graph.operators}
    found = find_streams(graph, find_channels(graph))
    assert found.streams
    assert not found.links


def test_linked_streams_have_one_order_of_channels(opened: Graph, streams: Streams) -> None:
    evidence = Evidence(opened, streams.channels.groups, Data(batches(opened, 6)))
    curves = streams.curves(rankings("output_error", evidence), False)
    orders = [np.argsort(s.units)[curves[name].order].tolist() for name, s in streams.streams.items()]
    assert all(order == orders[0] for order in orders)
    assert orders[0] != sorted(orders[0])


def test_what_is_not_carried_on_counts_only_where_it_is_kept() -> None:
    one = Carried(0, 1, np.array([8.0, 4.0, 2.0, 1.0]))
    assert [one.lost(2, second) for second in range(5)] == [0, 0, 0, 2, 3]


def test_the_optimizer_weighs_what_streams_lose_between_them(opened: Graph, streams: Streams) -> None:
    evidence = Evidence(opened, streams.channels.groups, Data(batches(opened, 6)))
    ranked = rankings("output_error", evidence)
    fused = fused_open(opened.clone())
    found = transferred(
        tuple(streams.curves(ranked, False).values()), find_streams(fused, find_channels(fused)).groups
    )
    carried = list(streams.carried(ranked, found))
    assert len(carried) == BLOCKS
    costs = OpenCosts(backend_of(TARGET).costs(TARGET))
    optimizer = Optimizer(fused, list(found.values()), costs, 3, carried)
    limit = sum(op.macs for op in fused.operators) // 2
    chosen = optimizer.within(Budget(macs=limit))
    assert chosen.loss == pytest.approx(_least_loss(optimizer, limit))


def _least_loss(optimizer: Optimizer, limit: int) -> float:
    """By trying all counts."""
    tried = (dict(enumerate(counts)) for counts in product(*optimizer.problem.counts))
    return min(
        optimizer.loss(counts)
        for counts in tried
        if sum(op.macs for op in optimizer.extents.pruned(counts).operators) <= limit
    )


def test_nested_streams_close_without_picking_channels() -> None:
    """A narrower stem makes an order that all later blocks take over."""
    graph = Canonicalize().run(residual(2, blocks=3))
    open_sums(graph)
    graph.remove_dead()
    channels = find_channels(graph)
    stem = next(group.name for group in find_streams(graph, channels).groups)
    closed = remove(graph, channels.closure({stem: [6, 10, 14, 9]}), channels)
    want = answers(closed)
    close_sums(closed)
    kinds = [op.name for op in closed.operators]
    assert "nn.gather" not in kinds
    assert kinds.count("nn.pad") == 1
    assert np.allclose(answers(closed), want, 1e-4, 1e-4)


def answers(graph: Graph) -> Array:
    random = np.random.default_rng(0)
    feeds = {v.name: random.normal(size=v.type.shape).astype(np.float32) for v in graph.inputs}
    return next(iter(interpreter.run(graph, feeds).values()))
