"""Equalization of groups of channels: answers keep every bit, ranges agree, what cannot be is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.graph import Graph, constant_of
from secateur.ir.interpreter import run
from secateur.ir.verifier import verify
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.quantize.equalize import Equalize
from secateur.passes.quantize.magnitudes import input_ranges, result_ranges
from secateur.passes.quantize.streams import equalize_groups
from secateur.tools.checks.pruned import noise
from secateur.tools.fuzz.networks import random_network
from tests.passes.texts import build, structure

STREAM = """
graph @stream(%x: tensor<1x3x6x6xf32>) {
  %w1 = const : tensor<8x3x3x3xf32>
  %b1 = const : tensor<1x8x1x1xf32>
  %dw = const : tensor<8x1x3x3xf32>
  %w2 = const : tensor<8x8x1x1xf32>
  %b2 = const : tensor<1x8x1x1xf32>
  %fc = const : tensor<8x5xf32>
  %a = nn.conv(%x, %w1, %b1) {SAME, epilogue = [add, relu]} : tensor<1x8x6x6xf32> loc("stem")
  %d = nn.conv(%a, %dw) {SAME, groups = 8} : tensor<1x8x6x6xf32> loc("depthwise")
  %c = nn.conv(%d, %w2, %b2, %a) {VALID, epilogue = [add, add, relu]} : tensor<1x8x6x6xf32> loc("block")
  %m = nn.reduce_mean(%c) {axes = [2, 3], keepdims = false} : tensor<1x8xf32> loc("mean")
  %y = nn.matmul(%m, %fc) : tensor<1x5xf32> loc("fc")
  return %y as "y"
}
"""


def uneven(graph: Graph, seed: int = 0) -> Graph:
    """Every weight of a linear operator scaled along its first two axes by powers of two."""
    choose = np.random.default_rng(seed)
    for op in graph.operators:
        weights = constant_of(op.operands[1]) if op.name in ("nn.conv", "nn.matmul") else None
        maker = op.operands[1].producer if weights is not None else None
        if weights is not None and maker is not None:
            rows, columns = (choose.integers(-5, 6, d) for d in weights.shape[:2])
            scale = np.exp2(np.add.outer(rows, columns)).reshape(
                *weights.shape[:2], *[1] * (weights.ndim - 2)
            )
            maker.attributes["value"] = (weights * scale).astype(np.float32)
    return graph


def test_a_residual_stream_is_balanced_to_the_bit() -> None:
    before = uneven(build(STREAM))
    after = Equalize().run(before.clone())
    verify(after)
    assert structure(after) == structure(before)
    np.testing.assert_array_equal(run(after, noise(after))["y"], run(before, noise(before))["y"])
    ends = {op.loc: op for op in after.operators}
    made = np.maximum(*(result_ranges(ends[name]) for name in ("stem", "block")))
    used = np.maximum(*(input_ranges(ends[name]) for name in ("block", "fc")))
    assert (made / used).min() >= 0.5
    assert (made / used).max() <= 2


def test_an_uneven_stream_was_not_balanced_before() -> None:
    ends = {op.loc: op for op in uneven(build(STREAM)).operators}
    assert (result_ranges(ends["stem"]) / input_ranges(ends["fc"])).max() > 16


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("epilogue = [add, add, relu]", "epilogue = [add, add, sigmoid]"),
        ("epilogue = [add, add, relu]", "epilogue = [add, mul]"),
        ("epilogue = [add, relu]", "epilogue = [add, tanh]"),
        (
            "%dw = const : tensor<8x1x3x3xf32>",
            "%u = const : tensor<8x1x3x3xf32> %dw = nn.relu(%u) : tensor<8x1x3x3xf32>",
        ),
    ],
)
def test_streams_that_are_left_alone(before: str, after: str) -> None:
    graph = uneven(build(STREAM.replace(before, after)))
    balanced = graph.clone()
    equalize_groups(balanced)
    pairs = zip(graph.operators, balanced.operators, strict=True)
    assert all(np.array_equal(a["value"], b["value"]) for a, b in pairs if a.name == "nn.constant")


@pytest.mark.parametrize("seed", range(24))
def test_not_a_bit_of_a_random_networks_answer_moves(seed: int) -> None:
    fused = PassManager(parse_pipeline("canonicalize,fuse,canonicalize")).run(random_network(seed)).graph
    before = uneven(fused, seed)
    after = Equalize().run(before.clone())
    verify(after)
    wanted, found = run(before, noise(before, seed)), run(after, noise(before, seed))
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])
