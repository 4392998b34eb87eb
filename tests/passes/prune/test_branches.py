"""Residual branches that may go whole, and how far errors of layers reach."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.graph import Value
from secateur.ir.verifier import verify
from secateur.passes.prune.criteria.branch_losses import branch_losses, solved_branch_losses
from secateur.passes.prune.criteria.branches import bypassed, find_branches
from secateur.passes.prune.criteria.sensitivity import sensitivities, weighed
from secateur.passes.prune.remove import remove
from tests.passes.prune.calibrated import TWO, answers, evidence, with_constant
from tests.passes.prune.test_criteria import constant
from tests.passes.prune.test_remove import CONCAT, RESIDUAL
from tests.passes.texts import build, names

PROJECTED = """
graph @projected(%x: tensor<1x3x6x6xf32>) {
  %w1 = const : tensor<4x3x3x3xf32>
  %w2 = const : tensor<4x4x3x3xf32>
  %w3 = const : tensor<4x3x1x1xf32>
  %a = nn.conv(%x, %w1) {SAME} : tensor<1x4x6x6xf32> loc("conv1")
  %b = nn.conv(%a, %w2) {SAME} : tensor<1x4x6x6xf32> loc("conv2")
  %p = nn.conv(%x, %w3) {VALID} : tensor<1x4x6x6xf32> loc("projection")
  %y = nn.add(%p, %b) : tensor<1x4x6x6xf32> loc("add")
  return %y as "y"
}
"""


def test_the_branch_of_a_block_is_what_only_it_uses() -> None:
    (branch,) = find_branches(build(RESIDUAL))
    assert branch.name == "add"
    assert [op.loc for op in branch.operators] == ["conv1", "", "conv2"]
    assert branch.skip.name == "r"


def test_of_two_branches_that_could_go_the_larger_one_is_named() -> None:
    (branch,) = find_branches(build(PROJECTED))
    assert [op.loc for op in branch.operators] == ["conv1", "conv2"]


@pytest.mark.parametrize(
    "text",
    [
        CONCAT,
        TWO,
        RESIDUAL.replace('return %o as "logits"', 'return %o as "logits", %b as "seen"'),
        RESIDUAL.replace("nn.add(%c, %r)", "nn.add(%c, %n)")
        .replace("nn.conv(%r, %w2)", "nn.conv(%c0, %w2)")
        .replace("%b = nn.conv", "%c0 = nn.relu(%r) : tensor<1x8x8x8xf32>\n  %b = nn.conv")
        .replace('return %o as "logits"', 'return %o as "logits", %c as "seen"'),
    ],
    ids=["no sum", "no residual", "seen inside", "seen at the end"],
)
def test_what_others_use_is_no_branch(text: str) -> None:
    found = [op.loc for branch in find_branches(build(text)) for op in branch.operators]
    assert "conv1" not in found


def test_without_a_branch_the_sum_is_its_skip() -> None:
    graph = build(RESIDUAL)
    less = remove(graph, {}, bypassed=bypassed(find_branches(graph)))
    verify(less)
    assert names(less) == ["nn.conv", "nn.batch_norm", "nn.relu", "nn.reduce_mean", "nn.matmul"]
    assert len(find_branches(graph)) == 1


def test_a_branch_loses_its_share_of_the_sums_variance() -> None:
    graph = build(PROJECTED)
    found, branches = evidence(graph), find_branches(graph)
    by_name = {v.name: v for v in graph.values()}
    arrays = list(found.data.values(graph, [by_name["b"], by_name["y"]]))
    b, y = (np.stack([a[i] for a in arrays]).astype(np.float64) for i in (0, 1))
    wanted = b.var(axis=(0, 1, 3, 4)).sum() / y.var(axis=(0, 1, 3, 4)).sum()
    assert branch_losses(found, branches)["add"] == pytest.approx(wanted, rel=1e-5)


def test_a_branch_of_zeros_costs_nothing_and_leaves_the_answers_alone() -> None:
    graph = build(RESIDUAL)
    silent = with_constant(graph, "w3", np.zeros_like(constant(graph, "w3")))
    found, branches = evidence(silent), find_branches(silent)
    assert branch_losses(found, branches) == {"add": 0.0}
    same = answers(remove(silent, {}, bypassed=bypassed(branches)), found.data)
    np.testing.assert_array_equal(same, answers(silent, found.data))


def test_what_a_linear_map_of_the_skip_explains_is_not_lost_where_the_rest_is_solved() -> None:
    """The branch of two 1x1 convolutions is such a map; with a ReLU in between a part of it is not."""
    text = PROJECTED.replace("4x3x3x3", "4x3x1x1").replace("4x4x3x3", "4x4x1x1").replace("SAME", "VALID")
    graph = build(text)
    found, branches = evidence(graph, 40), find_branches(graph)
    as_it_is, solved = (judge(found, branches)["add"] for judge in (branch_losses, solved_branch_losses))
    assert solved < 1e-3 * as_it_is
    bent = build(
        text.replace("nn.conv(%a, %w2)", "nn.conv(%r, %w2)").replace(
            "  %b =", "  %r = nn.relu(%a) : tensor<1x4x6x6xf32>\n  %b ="
        )
    )
    as_it_is, solved = (
        judge(evidence(bent, 40), find_branches(bent))["add"]
        for judge in (branch_losses, solved_branch_losses)
    )
    assert 0.01 * as_it_is < solved < as_it_is


def test_a_map_that_images_do_not_agree_on_explains_nothing() -> None:
    graph = build(RESIDUAL)
    found, branches = evidence(graph, 1), find_branches(graph)
    assert solved_branch_losses(found, branches) == branch_losses(found, branches)


# Sensitivity ---------------------------------------------------------------------------------------


def test_all_of_an_outputs_error_reaches_it_and_none_of_a_layer_that_is_not_used() -> None:
    graph = build(RESIDUAL)
    quiet = with_constant(graph, "w3", np.zeros_like(constant(graph, "w3")))
    found = evidence(quiet, 8)
    by_loc = {op.loc: op.result for op in quiet.operators}
    result = sensitivities(quiet, [by_loc["fc"], by_loc["conv1"], by_loc["stem"]], found.data)
    assert result[by_loc["conv1"]] == 0
    assert 0.2 < result[by_loc["fc"]] < 5
    assert result[by_loc["stem"]] > 0


def test_sensitivity_leaves_the_graph_alone_and_covers_layers_and_sums() -> None:
    graph = build(RESIDUAL)
    before = names(graph)
    found = weighed(evidence(graph, 2))
    assert names(graph) == before
    assert {_loc(v) for v in found.sensitivity} == {"stem", "conv1", "conv2", "fc", "add"}
    assert all(s >= 0 for s in found.sensitivity.values())


def _loc(value: Value) -> str:
    assert value.producer is not None
    return value.producer.loc
