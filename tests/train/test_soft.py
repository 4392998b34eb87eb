"""Soft filter pruning: what is zeroed, that it may come back, and what is removed in the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.ir.channels import find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, constant_of
from secateur.ir.interpreter import run
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.fuse.opening import Open
from secateur.passes.prune.masked import masked

from . import tiny

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-train installs it")

from secateur.train.loop import Training, accuracy  # noqa: E402
from secateur.train.network import Network  # noqa: E402
from secateur.train.recipe import Recipe  # noqa: E402
from secateur.train.soft import SoftPruning, additive, uniform  # noqa: E402

from .test_loop import labelled  # noqa: E402

RECIPE = Recipe(epochs=6, batch=32, rate=0.1)


def test_what_a_unit_adds_is_zeroed() -> None:
    network = Network(tiny.graph())
    stream, inner = find_channels(network.structure).groups
    assert {m.value.name for m in additive(stream)} == {
        "stem.conv.weight",
        "stem.bn.bias",
        "conv2.weight",
        "bn2.bias",
    }
    assert {(m.value.name, m.axis) for m in additive(inner)} == {("conv1.weight", 0), ("bn1.bias", 0)}
    soft = SoftPruning(network, {inner.name: 2})
    soft.zero({inner.name: [1, 5]})
    after = {v.name: constant_of(v) for v in network.graph().values() if v.is_constant}
    before = {v.name: constant_of(v) for v in tiny.graph().values() if v.is_constant}
    for name, array in after.items():
        old = before[name]
        assert array is not None and old is not None  # noqa: PT018
        expected = old.copy()
        if name in ("conv1.weight", "bn1.bias"):
            expected[[1, 5]] = 0
        np.testing.assert_array_equal(array, expected)


def test_zeroed_units_add_nothing_in_training() -> None:
    """Batch normalization makes a channel of zeros its shift, which is zero too: as if the unit were gone."""
    graph = tiny.graph()
    network, other = Network(graph), Network(graph)
    soft = SoftPruning(network, {g.name: 3 for g in find_channels(network.structure).groups})
    gone = {g.name: [0, 2, 7] for g in soft.channels.groups}
    soft.zero(gone)
    hidden = Network(masked(graph, gone))
    feeds = {"input": labelled(16).images}
    with torch.no_grad():
        found, expected, unpruned = (n.train()(feeds)["output"].numpy() for n in (network, hidden, other))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found - unpruned).max() > 0.01


def opened() -> Graph:
    """The tiny network, in which filters and carried channels are groups of their own."""
    return Open().run(tiny.graph())


@pytest.mark.parametrize("number", range(5))
def test_rows_and_carried_channels_are_zeroed_apart(number: int) -> None:
    """In the fused space a carried channel has no filter: it is masked."""
    network, feeds = Network(opened()), {"input": labelled(16).images}
    soft = SoftPruning(network, {g.name: 3 for g in find_channels(network.structure).groups})
    group = soft.channels.groups[number]
    gone = {group.name: [0, 2, 7]}
    hidden = Network(masked(opened(), gone)).train()
    network.train()
    with torch.no_grad():
        whole = network(feeds)["output"].numpy()
        soft.zero(gone)
        found, expected = network(feeds)["output"].numpy(), hidden(feeds)["output"].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found - whole).max() > 0.01
    soft.zero({})
    assert network.masks == {}


def test_the_fused_space_is_pruned_and_closed_again() -> None:
    network = Network(opened())
    groups = find_channels(network.structure)
    soft = SoftPruning(
        network, {name: 3 for name in groups.by_name if "add" not in name} | {"/add/Add/carried": 4}
    )
    Training(labelled(320), RECIPE, before_epoch=(soft,)).fit(network)
    tuned = Network(soft.remove())
    Training(labelled(320), replace(RECIPE, epochs=2), teacher=network).fit(tuned)
    graph, held_out = Fuse().run(tuned.graph()), labelled(60, 1)
    assert not any(op.name in ("nn.channel_sum", "nn.carry") for op in graph.operators)
    answers = [run(graph, {"input": x[None].numpy()})["output"].argmax() for x in held_out.images]
    assert np.mean(np.array(answers) == held_out.labels.numpy()) > 0.85


def test_units_are_chosen_anew_and_come_back() -> None:
    network, recipe = Network(tiny.graph()), Recipe(epochs=8, batch=16, rate=0.5)
    soft = SoftPruning(network, uniform(find_channels(network.structure), 0.4), "batch_norm")
    Training(labelled(320), recipe, before_epoch=(soft,)).fit(network)
    assert len(soft.chosen) == recipe.epochs
    assert all(len(units) == 3 for chosen in soft.chosen for units in chosen.values())
    ever = {(g, u) for chosen in soft.chosen for g, units in chosen.items() for u in units}
    last = {(g, u) for g, units in soft.chosen[-1].items() for u in units}
    assert last < ever  # some that were zeroed once are not any more
    for name, units in soft.chosen[-1].items():
        for member in additive(soft.channels.by_name[name]):
            array = network.constant(member.value).detach().numpy()
            assert np.take(array, np.flatnonzero(np.isin(member.units, units)), member.axis).any()  # and grow


def test_more_and_more_is_zeroed_along_a_ramp() -> None:
    network = Network(tiny.graph())
    soft = SoftPruning(network, uniform(find_channels(network.structure), 0.5), ramp=3)
    for epoch in range(5):
        soft(network, epoch)
    assert [[len(units) for units in chosen.values()] for chosen in soft.chosen] == [
        [1, 1], [2, 2], [3, 3], [4, 4], [4, 4]
    ]  # fmt: skip


def test_what_is_left_is_smaller_and_learns_on() -> None:
    network, held_out = Network(tiny.graph()), labelled(90, 1)
    soft = SoftPruning(network, uniform(find_channels(network.structure), 0.5))
    Training(labelled(320), RECIPE, before_epoch=(soft,)).fit(network)
    small = soft.remove()
    shapes = {v.name: v.type.shape for v in small.values() if v.is_constant}
    assert shapes["conv1.weight"] == (4, 4, 3, 3)
    assert {op.result.name for op in small.operators} == {op.result.name for op in tiny.graph().operators}
    tuned = Network(small)
    Training(labelled(320), replace(RECIPE, epochs=3, rate=0.05), teacher=network).fit(tuned)
    assert accuracy(tuned, held_out) > 0.85
    x = held_out.images[:1]
    answer = run(tuned.graph(), {"input": x.numpy()})["output"]
    np.testing.assert_allclose(answer, tuned.eval()({"input": x})["output"].detach(), rtol=1e-4, atol=1e-4)


def test_bad_counts_are_refused() -> None:
    network = Network(tiny.graph())
    name = find_channels(network.structure).groups[0].name
    with pytest.raises(SecateurError, match="3 units of group 'no' cannot be pruned: no such group"):
        SoftPruning(network, {"no": 3})
    with pytest.raises(SecateurError, match="cannot be pruned: it has 8 units"):
        SoftPruning(network, {name: 8})
    with pytest.raises(SecateurError, match="a share of 1 cannot be pruned"):
        uniform(find_channels(network.structure), 1)
