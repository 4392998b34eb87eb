"""Networks with their sums opened: unpruned they are what they were, pruned they compute what was decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secateur
from secateur.codegen.targets.find import find
from secateur.ir.channels import Channels, find_channels
from secateur.ir.files import write_graph
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.onnx_writer import to_onnx
from secateur.ir.parser import parse_graph
from secateur.ir.printer import print_graph
from secateur.ir.verifier import verify
from secateur.passes.fuse.closing import close_sums, is_open
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.fuse.opening import Open
from secateur.passes.prune.masked import masked
from secateur.passes.prune.remove import Gone, remove
from secateur.pipeline import default_pipeline
from secateur.tools.checks.pruned import noise, random_decision
from tests.passes.fuse.opened_networks import network
from tests.passes.texts import same_structure
from tests.sampled import sampled

Answers = Mapping[str, np.ndarray[Any, Any]]
LARGE = [pytest.param(n, marks=pytest.mark.slow) for n in ("resnet34", "resnet50", "resnet110", "googlenet")]
OPENED = {
    "resnet18": 8, "resnet34": 16, "resnet50": 16, "mobilenet-v2": 10, "googlenet": 0, "resnet20": 9,
    "resnet56": 27, "resnet110": 54, "preactivation": 4, "small": 3,
}  # fmt: skip


def moved(wanted: Answers, found: Answers) -> float:
    """The largest difference as a share of the largest magnitude."""
    return max(float(np.abs(a - found[n]).max() / np.abs(a).max()) for n, a in wanted.items())


STANDARD = ["resnet18", "resnet20", "resnet56", "mobilenet-v2", "preactivation", "small", *LARGE]


@pytest.mark.parametrize(
    "name", sampled(STANDARD, ["resnet18", "resnet20", "mobilenet-v2", "preactivation", "small"])
)
def test_unpruned_it_is_what_standard_fusion_makes(name: str) -> None:
    """The same operators, and so the same multiplications, compile time and speed; and answers."""
    graph = network(name)
    opened = Open().run(graph.clone())
    verify(opened)
    assert sum(op.name == "nn.channel_sum" for op in opened.operators) == OPENED[name]
    assert not any(op.name == "nn.add" and op.result.type.rank == 4 for op in opened.operators)
    standard, aggressive = Fuse().run(graph.clone()), Fuse(level="aggressive").run(graph.clone())
    assert same_structure(standard, aggressive)
    assert same_structure(standard, Fuse().run(opened.clone()))
    assert [op.macs for op in standard.operators] == [op.macs for op in aggressive.operators]
    given = noise(graph)
    want = run(graph, given)
    assert moved(want, run(opened, given)) <= 1e-6
    assert moved(want, run(aggressive, given)) <= 1e-5


def removed(graph: Graph, gone: Gone, channels: Channels) -> Graph:
    """The graph without `gone`, verified."""
    pruned = remove(graph, gone, channels)
    verify(pruned)
    return pruned


def groups_of(graph: Graph) -> int:
    return len(find_channels(graph).groups)


def test_each_block_has_groups_of_its_own() -> None:
    """A stage of a ResNet is one stream; opened, every block has its rows, what it carries, and its sum."""
    graph = network("resnet20")
    names = [g.name for g in find_channels(Open().run(graph.clone())).groups]
    assert groups_of(graph) == 12
    assert len(names) == 37
    for name in ("layer1.1", "layer3.2"):
        stage = name.split(".", maxsplit=1)[0]
        conv, add = f"/{stage}/{name}/conv2/Conv", f"/{stage}/{name}/Add"
        assert {conv, add, f"{add}/carried"} <= set(names)


@pytest.mark.parametrize("name", ["resnet20", "mobilenet-v2", "preactivation", "small"])
@pytest.mark.parametrize("seed", sampled(range(3), [1]))
def test_pruned_it_computes_what_was_decided(name: str, seed: int) -> None:
    """Masked, removed, closed, fused: the same answers, and nothing left that is there for pruning alone."""
    opened = Open().run(network(name, seed))
    channels = find_channels(opened)
    gone = random_decision(channels, seed)
    assert sum(map(len, gone.values()))
    pruned = removed(opened, gone, channels)
    given = noise(opened, seed)
    want = run(masked(opened, gone, channels), given)
    closed, fused = pruned.clone(), Fuse().run(pruned.clone())
    close_sums(closed)
    for graph in (pruned, closed, fused):
        verify(graph)
        assert moved(want, run(graph, given)) <= 1e-5
    assert not is_open(closed)
    assert sum(op.macs for op in fused.operators) <= sum(op.macs for op in Fuse().run(opened).operators)


def whole(graph: Graph, *names: str) -> dict[str, range]:
    """The decision that all units of some groups go."""
    by_name = find_channels(graph).by_name
    return {name: range(by_name[name].size) for name in names}


def test_a_whole_block_may_go() -> None:
    """All rows: what is left of the block is what it carries. All that is carried: the stream starts anew."""
    opened = Open().run(network("small"))
    given = noise(opened)
    for group, convolutions in (("/first/b/conv/Conv", 7), ("/first/Add/carried", 9)):
        gone = whole(opened, group)
        fused = Fuse().run(removed(opened, gone, find_channels(opened)))
        assert sum(op.name == "nn.conv" for op in fused.operators) == convolutions
        assert {op.name for op in fused.operators} <= {
            "nn.constant", "nn.conv", "nn.reduce_mean", "nn.reshape", "nn.matmul",
        }  # fmt: skip
        assert moved(run(masked(opened, gone), given), run(fused, given)) <= 1e-5


def nested(channels: Channels, rows: float, carried: Callable[[int], float]) -> dict[str, list[int]]:
    """A share of all rows, and of what the n-th block carries, by one ranking of each stage's channels."""
    gone, number = dict[str, list[int]](), 0
    for group in channels.groups:
        carries = group.name.endswith("/carried")
        share = carried(number) if carries else rows
        number += carries
        ranking = np.random.default_rng(group.size).permutation(group.size)
        if group.spared:
            gone[group.name] = sorted(ranking[round(share * group.size) :].tolist())
    return gone


@pytest.mark.parametrize(
    ("rows", "carried", "allowed"),
    [
        (0.75, lambda _: 0.75, {"nn.slice"}),  # every sum is narrower, of the stem a part is carried
        (1.0, lambda _: 0.5, {"nn.slice", "nn.pad"}),  # half is carried: a prefix
        (1.0, lambda n: 1 - n / 8, {"nn.slice", "nn.pad"}),  # less and less is carried
        (0.5, lambda _: 1.0, {"nn.slice", "nn.concat"}),  # half of the rows: the rest is carried as it is
    ],
)
def test_nested_streams_are_prefixes(rows: float, carried: Callable[[int], float], allowed: set[str]) -> None:
    """Channels are put in an order in which nothing has to be picked one by one."""
    opened = Open().run(network("resnet20"))
    channels = find_channels(opened)
    gone = nested(channels, rows, carried)
    fused = Fuse().run(removed(opened, gone, channels))
    usual = {"nn.constant", "nn.conv", "nn.reduce_mean", "nn.reshape", "nn.matmul"}
    assert {op.name for op in fused.operators} - usual == allowed
    assert sum(op.name == "nn.conv" for op in fused.operators) == 21
    given = noise(opened)
    assert moved(run(masked(opened, gone, channels), given), run(fused, given)) <= 1e-5


def test_an_opened_network_prints_and_is_onnx() -> None:
    opened = Open().run(network("small"))
    channels = find_channels(opened)
    pruned = removed(opened, random_decision(channels, 5), channels)
    given = noise(pruned)
    want = run(pruned, given)
    assert moved(want, run(parse_graph(*print_graph(pruned)), given)) == 0.0
    assert moved(want, run(read_model(to_onnx(pruned)), given)) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled([1, 2], [2]))
def test_compiled_it_computes_what_was_decided(seed: int, tmp_path: Path) -> None:
    opened = Open().run(network("small", seed))
    channels = find_channels(opened)
    gone = random_decision(channels, seed)
    write_graph(removed(opened, gone, channels), tmp_path / "pruned.sir")
    given = noise(opened, seed)
    want = run(masked(opened, gone, channels), given)
    artifact = secateur.compile(tmp_path / "pruned.sir", tmp_path / "pruned.so")
    found = secateur.load(artifact.path).run(given)
    assert moved(want, dict(zip(want, found.values(), strict=True))) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(sorted(OPENED), ["preactivation"]))
def test_compiled_unpruned_it_answers_as_before(name: str, tmp_path: Path) -> None:
    """Within 1e-5 of the network as read, by the interpreter; each convolution keeps its own rounding."""
    graph = network(name)
    row = find("host")
    pipeline = default_pipeline(graph, row).replace("fuse", "fuse{level=aggressive}", 1)
    given = noise(graph)
    want = run(graph, given)
    artifact = secateur.compile(graph, tmp_path / "opened.so", pipeline=pipeline)
    with secateur.load(artifact.path) as session:
        found = session.run(given)
    assert moved(want, dict(zip(want, found.values(), strict=True))) <= 1e-5
