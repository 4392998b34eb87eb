"""Removal of channels: residual and concatenated networks, and what a wrong dependency would do."""

from __future__ import annotations

import pytest

from secateur.ir.channels import Group, find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.passes.prune.remove import kept_indices, remove
from secateur.tools.checks.pruned import check
from tests.passes.texts import build

RESIDUAL = """
graph @residual(%x: tensor<1x3x8x8xf32>) {
  %w1 = const : tensor<8x3x3x3xf32>
  %w2 = const : tensor<6x8x3x3xf32>
  %w3 = const : tensor<8x6x3x3xf32>
  %scale = const : tensor<8xf32>
  %shift = const : tensor<8xf32>
  %mean = const : tensor<8xf32>
  %variance = const : tensor<8xf32>
  %fc = const : tensor<8x5xf32>
  %a = nn.conv(%x, %w1) {SAME} : tensor<1x8x8x8xf32> loc("stem")
  %n = nn.batch_norm(%a, %scale, %shift, %mean, %variance) : tensor<1x8x8x8xf32> loc("bn")
  %r = nn.relu(%n) : tensor<1x8x8x8xf32> loc("relu")
  %b = nn.conv(%r, %w2) {SAME} : tensor<1x6x8x8xf32> loc("conv1")
  %s = nn.sigmoid(%b) : tensor<1x6x8x8xf32>
  %c = nn.conv(%s, %w3) {SAME} : tensor<1x8x8x8xf32> loc("conv2")
  %y = nn.add(%c, %r) : tensor<1x8x8x8xf32> loc("add")
  %m = nn.reduce_mean(%y) {axes = [2, 3], keepdims = false} : tensor<1x8xf32> loc("mean")
  %o = nn.matmul(%m, %fc) : tensor<1x5xf32> loc("fc")
  return %o as "logits"
}
"""

CONCAT = """
graph @concat(%x: tensor<1x3x6x6xf32>) {
  %w1 = const : tensor<4x3x1x1xf32>
  %w2 = const : tensor<6x3x3x3xf32>
  %w3 = const : tensor<10x1x3x3xf32>
  %w4 = const : tensor<360x7xf32>
  %a = nn.conv(%x, %w1) {VALID} : tensor<1x4x6x6xf32> loc("one")
  %b = nn.conv(%x, %w2) {SAME} : tensor<1x6x6x6xf32> loc("three")
  %c = nn.concat(%a, %b) {axis = 1} : tensor<1x10x6x6xf32> loc("cat")
  %d = nn.conv(%c, %w3) {SAME, groups = 10} : tensor<1x10x6x6xf32> loc("depthwise")
  %e = nn.max_pool(%d) {kernel = [3, 3], SAME} : tensor<1x10x6x6xf32> loc("pool")
  %f = nn.reshape(%e) {shape = [1, 360]} : tensor<1x360xf32> loc("flatten")
  %o = nn.matmul(%f, %w4) : tensor<1x7xf32> loc("fc")
  return %o as "logits"
}
"""


def group(graph: Graph, name: str) -> Group:
    return find_channels(graph).by_name[name]


def test_a_residual_network_has_a_group_for_the_stream_and_one_for_the_branch() -> None:
    graph = build(RESIDUAL)
    groups = find_channels(graph).groups
    assert [(g.name, g.size) for g in groups] == [("stem", 8), ("conv1", 6)]
    assert [op.loc for op in groups[0].makers] == ["stem", "conv2"]
    assert [op.loc for op in groups[0].users] == ["conv1", "fc"]


def test_what_is_frozen_says_why() -> None:
    (frozen,) = find_channels(build(RESIDUAL)).frozen
    assert (frozen.value.name, frozen.axis, len(frozen.indices)) == ("o", 1, 5)
    assert frozen.reason == "it is part of the graph output 'logits'"


@pytest.mark.parametrize("text", [RESIDUAL, CONCAT])
@pytest.mark.parametrize("seed", range(4))
def test_removed_and_masked_are_equal(text: str, seed: int) -> None:
    check(build(text), seed)


def test_removal_slices_all_that_depends() -> None:
    graph = build(CONCAT)
    pruned = remove(graph, {"one": [1, 2], "three": [0]})
    shapes = {v.name: v.type.shape for v in pruned.values()}
    assert shapes["w1"] == (2, 3, 1, 1)
    assert shapes["w2"] == (5, 3, 3, 3)
    assert shapes["w3"] == (7, 1, 3, 3)
    assert shapes["w4"] == (252, 7)
    depthwise = next(op for op in pruned.operators if op.loc == "depthwise")
    assert depthwise["groups"] == 7


def test_kept_indices_name_initializers() -> None:
    kept = kept_indices(build(CONCAT), {"one": [1, 2], "three": [0]})
    assert kept["w1"] == {0: [0, 3]}
    assert kept["w3"] == {0: [0, 3, 5, 6, 7, 8, 9]}
    assert kept["w4"][0][:37] == [*range(36), 108]


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ({"stem": range(8)}, "nothing would be left of axis 0 of %w1"),
        ({"stem": [8]}, "group 'stem' has units 0 to 7, not 8"),
        ({"sten": [1]}, "there is no group 'sten'; did you mean 'stem'"),
    ],
)
def test_a_decision_that_cannot_be(gone: dict[str, list[int]], says: str) -> None:
    with pytest.raises(SecateurError, match=says):
        remove(build(RESIDUAL), gone)
