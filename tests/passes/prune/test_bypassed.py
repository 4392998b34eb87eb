"""Blocks that go whole as decisions: written, printed, edited, removed, masked, kept, repaired, reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.ir.channels import find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.onnx_writer import to_onnx
from secateur.ir.printer import print_graph
from secateur.ir.stages import READ
from secateur.ir.verifier import verify
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.prune.branches import bypass, bypassed_in
from secateur.passes.prune.criteria.branches import bypassed, find_branches
from secateur.passes.prune.decisions import decide
from secateur.passes.prune.kept import read_kept, write_kept
from secateur.passes.prune.prune import Prune
from secateur.passes.prune.remove import kept_indices, remove
from secateur.tools.bench import models
from secateur.tools.checks.pruned import assert_same, check_decision, noise, random_branches, random_decision
from tests.passes.texts import build, names
from tests.sampled import sampled

from .nets import residual
from .test_blocks import projected
from .test_branches import PROJECTED
from .test_decisions import edited
from .test_remove import RESIDUAL
from .test_search import DATA, pruned

# decisions ----------------------------------------------------------------------------------------


def marked(text: str = RESIDUAL) -> Graph:
    graph = build(text)
    bypass(graph, bypassed(find_branches(graph)))
    return graph


def test_a_decision_prints_parses_and_is_read() -> None:
    graph = edited(marked())
    verify(graph, READ)
    assert "nn.add(%c, %r) {bypassed = 0}" in print_graph(graph)[0]
    assert {op.loc: at for op, at in bypassed_in(graph).items()} == {"add": 0}


def test_the_pass_removes_the_block_and_the_channels() -> None:
    graph = marked()
    decide(graph, {"stem": [1, 4], "conv1": [0]})
    less = PassManager(parse_pipeline("remove")).run(graph).graph
    assert names(less) == ["nn.conv", "nn.batch_norm", "nn.relu", "nn.reduce_mean", "nn.matmul"]
    assert not any("bypassed" in op.attributes for op in less.operators)
    assert [op.result.type.shape for op in less.operators if op.loc == "stem"] == [(1, 6, 8, 8)]


def test_a_hand_may_choose_the_other_operand() -> None:
    graph = edited(marked(PROJECTED), ("bypassed = 1", "bypassed = 0"))
    less = PassManager(parse_pipeline("remove")).run(graph).graph
    assert [op.loc for op in less.operators if op.name == "nn.conv"] == ["conv1", "conv2"]


def test_an_operand_that_is_not_there() -> None:
    with pytest.raises(SecateurError, match=r"'add' \(nn.add\): bypassed names operand 0 or 1, not 2"):
        bypassed_in(edited(marked(), ("bypassed = 0", "bypassed = 2")))


def test_what_is_no_addition_is_not_bypassed() -> None:
    graph = build(RESIDUAL)
    next(op for op in graph.operators if op.loc == "conv2").attributes["bypassed"] = 0
    with pytest.raises(SecateurError, match=r"'conv2' \(nn.conv\): only an addition"):
        bypassed_in(graph)


# removal ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", [residual, projected])
def test_removed_is_masked(make: object, seed: int) -> None:
    graph = PassManager(parse_pipeline("canonicalize")).run(make(seed)).graph  # type: ignore[operator]
    channels, branches = find_channels(graph), random_branches(graph, seed)
    check_decision(graph, random_decision(channels, seed), channels, noise(graph, seed), branches=branches)


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "mobilenet-v2"])
def test_a_network_without_all_its_blocks(name: str) -> None:
    graph = PassManager(parse_pipeline("canonicalize")).run(
        read_model(models.build(name, 0, 32).SerializeToString())
    )
    channels, branches = find_channels(graph.graph), bypassed(find_branches(graph.graph))
    assert len(branches) == {"resnet20": 9, "resnet18": 8, "mobilenet-v2": 10}[name]
    given = noise(graph.graph, 1)
    less = check_decision(graph.graph, random_decision(channels, 1), channels, given, branches=branches)
    convs = sum(op.name == "nn.conv" for op in less.operators)
    assert convs == {"resnet20": 3, "resnet18": 4, "mobilenet-v2": 22}[name]
    limited = [op.operands[0].producer for op in less.operators if op.name == "nn.relu"]
    assert not any(op is not None and op.name == "nn.relu" for op in limited)
    written = read_model(to_onnx(less).SerializeToString())
    assert_same(run(less, given), run(written, given))


def test_of_what_is_gone_no_index_is_kept(tmp_path: Path) -> None:
    graph = build(RESIDUAL)
    write_kept(
        kept_indices(graph, {"stem": [1]}, None, bypassed(find_branches(graph))), tmp_path / "kept.json"
    )
    kept = read_kept(tmp_path / "kept.json")
    assert kept["w2"] == kept["w3"] == {0: []}
    assert kept["w1"] == {0: [0, 2, 3, 4, 5, 6, 7]}
    assert kept["fc"] == {0: [0, 2, 3, 4, 5, 6, 7]}


# the pass -----------------------------------------------------------------------------------------


def silenced(seed: int) -> Graph:
    """Blocks of which the first adds next to nothing."""
    graph = residual(seed)
    conv = [op for op in graph.operators if op.name == "nn.conv"][2]
    constant = conv.operands[1].producer
    assert constant is not None
    constant.attributes["value"] = (constant["value"] * 1e-4).astype(np.float32)
    return graph


@pytest.mark.parametrize("repair", sampled([True, False], [True]))
def test_a_block_that_matters_little_goes_first(repair: bool) -> None:
    found, report = pruned(silenced(1), Prune(macs=0.75, space="standard", material=DATA, repair=repair))
    assert [row.name for row in report.blocks] == ["n14"]
    assert report.blocks[0].loss < 1e-4
    assert report.after.macs <= 0.75 * report.before.macs
    inside = [row for row in report.groups if row.block]
    assert [row.after for row in inside] == [0]
    _, other = pruned(
        silenced(1), Prune(macs=0.75, space="standard", material=DATA, repair=repair, blocks=False)
    )
    assert not other.blocks
    assert report.loss < 1.01 * other.loss  # where a single channel of the branch may stay
    assert report.after.seconds < other.after.seconds
    assert run(found, noise(found))["y"].shape == (1, 5)


def test_blocks_stay_where_no_data_says_what_they_lose() -> None:
    for step in (Prune(macs=0.75), Prune(macs=0.75, criterion="l2", material=DATA)):
        assert not pruned(silenced(1), step)[1].blocks


def test_a_block_of_which_a_node_is_to_be_kept_stays() -> None:
    conv = [op.loc for op in residual(1).operators if op.name == "nn.conv"][1]
    _, report = pruned(silenced(1), Prune(macs=0.75, space="standard", material=DATA, keep=(conv,)))
    assert not report.blocks


def test_a_decided_block_is_carried_out_later() -> None:
    step = Prune(macs=0.75, space="standard", material=DATA, repair=False)
    whole, _ = pruned(silenced(1), step)
    decided, _ = pruned(silenced(1), Prune(macs=0.75, space="standard", material=DATA, remove=False))
    assert len(bypassed_in(decided)) == 1
    again = PassManager(parse_pipeline("remove")).run(edited(decided)).graph
    assert print_graph(again)[0] == print_graph(whole)[0]


def test_remove_without_branches_is_as_before() -> None:
    graph = build(RESIDUAL)
    assert (
        print_graph(remove(graph, {"conv1": [0]}))[0]
        == print_graph(remove(graph, {"conv1": [0]}, bypassed={}))[0]
    )
