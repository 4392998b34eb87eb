"""The pass `prune`: limits are kept, decisions can be edited, and what cannot be done is said."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.find import find
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, constant_of
from secateur.ir.interpreter import run
from secateur.ir.noise import noise
from secateur.ir.opdef import PRUNED
from secateur.ir.parser import parse_graph
from secateur.ir.printer import print_graph
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import format_pass, parse_pipeline
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.prune.linear.moments import Data
from secateur.passes.prune.optimize import Budget, CoupledError, Optimizer, Pruning
from secateur.passes.prune.options import Space
from secateur.passes.prune.prune import Prune
from secateur.passes.prune.removal import Remove
from secateur.passes.prune.report import PruningReport
from secateur.passes.prune.search import Material
from secateur.passes.select.graphs import problem_of
from secateur.passes.select.solver import Solver

from ...sampled import sampled_rows
from .calibrated import batches
from .nets import Net, residual

TARGET = find("rpi4")
COSTS = backend_of(TARGET).costs(TARGET)
DATA = Material(Data(batches(residual(1), 8)))
MATERIAL = {"weights": Material(), "data": DATA}
SPACES: tuple[Space, ...] = ("standard", "aggressive")


def pruned(graph: Graph, step: Prune) -> tuple[Graph, PruningReport]:
    reports: list[PruningReport] = []
    outcome = PassManager((replace(step, costs=COSTS, listen=reports.append),)).run(graph)
    return outcome.graph, reports[0]


@pytest.mark.parametrize(
    ("known", "space"),
    sampled_rows(product(MATERIAL, SPACES), lambda known, space: (known == "data") == (space == "standard")),
)
def test_a_limit_on_macs_is_kept(known: str, space: Space) -> None:
    material = MATERIAL[known]
    found, report = pruned(residual(1), Prune(macs=0.5, space=space, material=material))
    assert report.after.macs <= 0.5 * report.before.macs
    assert report.after.seconds < report.before.seconds
    assert report.loss > 0
    assert run(found, noise(found))["y"].shape == (1, 5)


@pytest.mark.parametrize("channels", [4, 8])
@pytest.mark.parametrize("step", [Prune(macs=0.8), Prune(size="80%")], ids=["macs", "weights"])
def test_layers_are_narrowed_within_a_block_of_channels_too(step: Prune, channels: int) -> None:
    """Fewer channels of a block save no time, but each saves multiplications and weights."""
    net = Net(1, size=6)
    graph = net.finished(net.relu(net.conv(net.relu(net.conv(net.x, channels)), channels)))
    _, report = pruned(graph, replace(step, space="standard"))
    before, after = report.before, report.after
    kept = after.macs / before.macs if step.macs else after.weights / before.weights
    assert 0.65 < kept <= 0.8


def test_a_limit_on_time_is_kept() -> None:
    _, whole = pruned(residual(1), Prune(macs=1.0, space="standard"))
    limit = 0.7 * whole.before.seconds
    _, report = pruned(residual(1), Prune(latency=limit, space="standard"))
    assert report.after.seconds <= limit * (1 + 1e-9)


def test_a_limit_on_memory_is_kept() -> None:
    _, whole = pruned(residual(1), Prune(macs=1.0, space="standard"))
    found, _ = pruned(residual(1), Prune(memory=whole.before.memory // 2))
    limited = problem_of(Fuse().run(found.clone()), COSTS).problem
    assert Solver(limited).smallest().costs.peak <= whole.before.memory // 2


def test_fewer_counts_are_weighed_where_too_many_depend_on_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weighed: list[int] = []
    within = Optimizer.within

    def limited(self: Optimizer, budget: Budget, slack: float) -> Pruning:
        weighed.append(max(map(len, self.problem.counts)))
        if weighed[-1] > 4:
            raise CoupledError("too many")
        return within(self, budget, slack)

    monkeypatch.setattr(Optimizer, "within", limited)
    _, report = pruned(residual(1, width=64), Prune(macs=0.5, space="standard"))
    assert weighed == sorted(weighed, reverse=True)
    assert weighed[0] > 4 >= weighed[-1]
    assert report.after.macs <= 0.5 * report.before.macs


def test_nothing_goes_where_nothing_must() -> None:
    graph = residual(1)
    found, report = pruned(graph, Prune(macs=1.0))
    assert report.loss == 0
    assert report.after == report.before
    assert print_graph(found)[0] == print_graph(graph)[0]


def test_a_decision_is_written_edited_and_carried_out() -> None:
    step = Prune(macs=0.6, space="standard", repair=False)
    whole, _ = pruned(residual(1), step)
    decided, _ = pruned(residual(1), replace(step, remove=False))
    assert any(PRUNED in op.attributes for op in decided.operators)
    text, resources = print_graph(decided)
    again = PassManager((Remove(),)).run(parse_graph(text, resources)).graph
    assert print_graph(again)[0] == print_graph(whole)[0]


def test_a_limit_that_nothing_keeps_names_the_nearest() -> None:
    with pytest.raises(SecateurError, match=r"no counts keep .*; the least possible is "):
        pruned(residual(1), Prune(latency=1e-9))


RELU = """
graph @g(%x: tensor<1x3x4x4xf32>) {
  %y = nn.relu(%x) : tensor<1x3x4x4xf32>
  return %y as "y"
}
"""


def test_a_network_without_filters_says_so() -> None:
    with pytest.raises(SecateurError, match="there is nothing to prune: "):
        pruned(parse_graph(RELU), Prune(macs=0.5))


def test_kept_nodes_stay_whole() -> None:
    graph = residual(1)
    _, free = pruned(graph, Prune(macs=0.6))
    names = [row.name for row in free.groups if row.pruned]
    _, report = pruned(graph, Prune(macs=0.6, keep=(names[0],)))
    assert names[0] not in [row.name for row in report.groups]
    with pytest.raises(SecateurError, match="every group of channels is to be kept"):
        pruned(graph, Prune(macs=0.6, keep=("*",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune{macs=0.5,loss=0.1}", "macs and loss are given; pruning keeps two of macs, latency and size"),
        ("prune{macs=-1}", "macs must be a number from 0 on, is -1"),
        ("prune{macs=0.5,criterion=l3}", "unknown criterion 'l3'"),
    ],
)
def test_a_recipe_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(SecateurError, match=re.escape(message)):
        parse_pipeline(text)


def test_a_recipe_without_a_limit() -> None:
    with pytest.raises(SecateurError, match="what a pruned network may cost is not said; give one of macs, "):
        pruned(residual(1), Prune())


def test_a_recipe_is_text() -> None:
    text = "prune{macs=0.5,criterion=l2,space=aggressive,repair=false}"
    (step,) = parse_pipeline(text)
    assert format_pass(step) == text


def test_the_space_that_loses_less_is_taken() -> None:
    step = Prune(macs=0.3, criterion="l2", repair=False)
    losses = [pruned(residual(1), replace(step, space=space))[1].loss for space in SPACES]
    _, report = pruned(residual(1), step)
    assert report.loss == pytest.approx(min(losses))
    assert [row.loss for row in report.spaces] == pytest.approx(losses)
    assert [row.name for row in report.spaces if row.taken] == [SPACES[losses.index(min(losses))]]


def test_kept_indices_stand_in_the_order_that_sums_are_closed_in() -> None:
    """All channels of constants of the pruned network are found again by them."""
    whole = Canonicalize(share=False).run(residual(1, blocks=3))
    for number, op in enumerate(op for op in whole.operators if op.name == "nn.constant"):
        op.result.name = f"w{number}"
    step = Prune(macs=0.3, criterion="l2", repair=False, space="aggressive")
    after, report = pruned(whole.clone(), step)
    before = {v.name: constant_of(v) for v in whole.values() if v.is_constant}
    left = {v.name: constant_of(v) for v in after.values() if v.name in before}
    assert len(left) > 5
    for name, array in left.items():
        kept = before[name]
        assert kept is not None
        for axis, indices in report.kept.get(name, {}).items():
            kept = np.take(kept, indices, axis)
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("space", SPACES)
def test_layers_that_share_their_weights_lose_channels_of_their_own(space: Space) -> None:
    """As the two ways through CBAM's layers do; sizes are looked at reader by reader."""
    net = Net(1, size=6)
    first = net.conv(net.x, 8)
    made = first.producer
    assert made is not None
    filters = made.operands[0].producer
    assert filters is not None
    again = net.append("nn.conv", [net.relu(net.x), filters.operands[1]], dict(filters.attributes))
    second = net.append("nn.add", [again, made.operands[1]], {})
    graph = net.finished(net.add(net.conv(net.relu(first), 4), net.conv(net.relu(second), 4)))
    found, report = pruned(graph, Prune(macs=0.5, space=space))
    assert report.after.macs <= 0.5 * report.before.macs
    assert run(found, noise(found))["y"].shape == (1, 5)
