"""Masked and removed channels of networks, random and real: as read, fused, in 8 bits, as ONNX."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.onnx_writer import to_onnx
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.prune.remove import kept_indices, remove
from secateur.tools.checks.pruned import assert_same, check, noise, random_decision
from secateur.tools.fuzz.networks import BLOCKS, Network, random_network
from secateur.tools.fuzz.prune_family import PruneFamily, real_network
from tests.sampled import sampled

# How many channels of the first convolution, in how many units, may go in front of a block of each kind
FREE = {
    **{name: {"conv2": 8} for name in BLOCKS},
    "grouped": {"conv2": 4},
    "split": {"conv2": 4, "conv2#2": 4},
    "strided": {"conv2": 4, "conv2#2": 1},
    "picked": {"conv2": 4, "conv2#2": 4},
    "upsampled": {"conv2": 4},
    "attended": {},
}


def block(name: str) -> Graph:
    """A convolution of 8 channels, a block, and a classifier."""
    network = Network(3)
    y = getattr(network, name)(network.unit(network.input, 8))
    network.graph.set_outputs([network.head(y)], ["y"])
    network.graph.remove_dead()
    return network.graph


@pytest.mark.parametrize("name", BLOCKS)
def test_units_in_front_of_a_block(name: str) -> None:
    groups = find_channels(block(name)).groups
    assert {g.name: g.size for g in groups if g.makers[0].loc == "conv2"} == FREE[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_lose_channels(name: str) -> None:
    for seed in range(3):
        check(block(name), seed)


def test_a_shuffle_stays_a_shuffle() -> None:
    graph = block("shuffled")
    shuffle = next(op for op in graph.operators if op.name == "nn.reshape")
    group = next(g for g in find_channels(graph).groups if any(m.value is shuffle.result for m in g.members))
    assert group.size == 2
    pruned = remove(graph, {group.name: [0]})
    shapes = [op["shape"] for op in pruned.operators if op.name == "nn.reshape"]
    assert shapes[:2] == [(1, 2, 2, 8, 8), (1, 4, 8, 8)]


@pytest.mark.parametrize("seed", range(20))
def test_random_networks(seed: int) -> None:
    check(random_network(seed), seed)


@pytest.mark.parametrize("seed", [1, 3, 6])
def test_a_random_network_at_every_stage(seed: int, tmp_path: Path) -> None:
    family = PruneFamily()
    assert family.check(family.make(seed), seed, tmp_path, None) == "agreed"


def read(name: str) -> Graph:
    return read_model(real_network(name, 0))


@pytest.mark.parametrize("name", ["resnet20", "mobilenet-v2", "squeezenet1.1"])
@pytest.mark.parametrize("pipeline", ["canonicalize", "canonicalize,fuse,canonicalize"])
def test_networks_of_the_benchmark(name: str, pipeline: str) -> None:
    check(PassManager(parse_pipeline(pipeline)).run(read(name)).graph, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(["resnet20", "resnet50", "densenet121", "googlenet"], ["resnet20"]))
def test_networks_of_the_benchmark_at_every_stage(name: str, tmp_path: Path) -> None:
    assert PruneFamily().check(real_network(name, 0), 1, tmp_path, None) == "agreed"


def test_a_pruned_network_is_written_and_read_with_its_initializers() -> None:
    graph = read("resnet20")
    channels = find_channels(graph)
    gone = random_decision(channels, 2)
    pruned, kept = remove(graph, gone, channels), kept_indices(graph, gone, channels)
    written = to_onnx(pruned)
    before = {w.name: list(w.dims) for w in to_onnx(graph).graph.initializer}
    after = {w.name: list(w.dims) for w in written.graph.initializer}
    assert after.keys() == before.keys()
    assert {n for n in after if after[n] != before[n]} == kept.keys()
    for name, axes in kept.items():
        assert after[name] == [len(axes.get(a, range(d))) for a, d in enumerate(before[name])]
    assert_same(run(pruned, noise(pruned)), run(read_model(written), noise(pruned)))


def test_a_shared_constant_loses_other_parts_for_each_reader() -> None:
    graph = block("reused")
    first, second = (op for op in graph.operators if len(op.operands) == 2 and len(op.operands[1].uses) == 2)
    name = first.operands[1].name
    kept = kept_indices(graph, {first.loc: [0, 1], second.loc: [7]})
    assert kept[name] == {0: [2, 3, 4, 5, 6, 7]}
    assert kept[f"{name}__2"] == {0: [0, 1, 2, 3, 4, 5, 6], 1: [2, 3, 4, 5, 6, 7]}
