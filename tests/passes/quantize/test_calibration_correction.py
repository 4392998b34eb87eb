"""Bias correction: mean results after correction are those of the real layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from secateur.ir.graph import Graph, Operator
from secateur.ir.interpreter import run
from secateur.passes.fuse.affine import channel_axis
from secateur.passes.quantize.calibration.correction import (
    Mean,
    weight_correction,
)
from tests.passes.texts import Array, build

LAYERS = {
    "conv": """graph @g(%x: tensor<1x4x7x6xf32>) {
  %w = const : tensor<6x4x3x3xf32>
  %b = const : tensor<1x6x1x1xf32>
  %y = nn.conv(%x, %w, %b) {SAME, epilogue = [add, relu]} : tensor<1x6x7x6xf32>
  return %y as "y"
}""",
    "strided groups": """graph @g(%x: tensor<2x4x7x6xf32>) {
  %w = const : tensor<6x2x3x2xf32>
  %y = nn.conv(%x, %w) {strides = [2, 1], pads = [1, 0, 2, 1], dilations = [1, 2], groups = 2,
    epilogue = [relu]} : tensor<2x6x4x5xf32>
  return %y as "y"
}""",
    "transposed": """graph @g(%x: tensor<1x4x3x3xf32>) {
  %w = const : tensor<4x5x3x3xf32>
  %y = nn.conv_transpose(%x, %w) {strides = [2, 2], pads = [1, 1, 1, 1], dilations = [1, 1],
    output_padding = [1, 1]} : tensor<1x5x6x6xf32>
  return %y as "y"
}""",
    "dense": """graph @g(%x: tensor<2x9xf32>) {
  %w = const : tensor<9x5xf32>
  %b = const : tensor<5xf32>
  %y = nn.matmul(%x, %w, %b) {epilogue = [add, relu]} : tensor<2x5xf32>
  return %y as "y"
}""",
}


def images(graph: Graph, count: int, seed: int = 0) -> Iterator[dict[str, Array]]:
    """Mostly positive, as after a ReLU: rounding errors of weights do not cancel."""
    choose = np.random.default_rng(seed)
    for _ in range(count):
        yield {
            v.name: np.maximum(choose.standard_normal(v.type.shape) + 0.7, 0).astype(np.float32)
            for v in graph.inputs
        }


def layer(graph: Graph) -> Operator:
    return next(op for op in graph.operators if op.name != "nn.constant")


def rounded(weights: Array, levels: int = 5) -> Array:
    step = np.abs(weights).max() / levels
    return np.asarray(np.round(weights / step) * step, np.float32)


def mean_sum(graph: Graph, weights: Array, count: int) -> Array:
    """The mean result of the layer without its epilogue, with other weights, one number a channel."""
    op = layer(graph)
    op.operands[1].producer.attributes["value"] = weights  # type: ignore[union-attr]
    op.attributes["epilogue"] = ()
    op.operands = op.operands[:2]
    found = [run(graph, batch)["y"] for batch in images(graph, count)]
    axis = channel_axis(op)
    others = tuple(i for i in range(found[0].ndim + 1) if i != axis + 1)
    return np.asarray(np.stack(found).mean(axis=others, dtype=np.float64))


@pytest.mark.parametrize("name", LAYERS)
def test_rounded_weights_keep_the_mean(name: str) -> None:
    """Padding included: the mean of the sums over every position, not of the middle alone."""
    graph = build(LAYERS[name])
    weights = layer(graph).operands[1].producer["value"]  # type: ignore[index]
    mean = Mean()
    for arrays in images(graph, 8):
        mean.add(arrays["x"])
    found = weight_correction(layer(graph), rounded(weights), np.asarray(mean.mean))
    real, moved = (mean_sum(build(LAYERS[name]), w, 8) for w in (weights, rounded(weights)))
    assert np.abs(moved - real).max() > 0.02
    np.testing.assert_allclose(moved + found, real, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_equal_weights_need_no_correction(name: str) -> None:
    graph = build(LAYERS[name])
    weights = layer(graph).operands[1].producer["value"]  # type: ignore[index]
    found = weight_correction(layer(graph), weights, np.ones(graph.inputs[0].type.shape))
    assert found.shape == (layer(graph).result.type.shape[channel_axis(layer(graph))],)
    assert not found.any()


def test_correction_leaves_the_graph_alone() -> None:
    graph = build(LAYERS["conv"])
    users = [len(v.users) for v in graph.values()]
    weight_correction(layer(graph), np.zeros((6, 4, 3, 3)), np.ones((1, 4, 7, 6)))
    assert [len(v.users) for v in graph.values()] == users


@settings(max_examples=40)
@given(
    st.lists(hnp.arrays(np.float32, (2, 3), elements=st.floats(-100, 100, width=32)), min_size=1, max_size=9)
)
def test_running_mean_is_the_mean(arrays: list[Array]) -> None:
    mean = Mean()
    for array in arrays:
        mean.add(array)
    assert mean.count == len(arrays)
    assert mean.mean is not None
    np.testing.assert_allclose(mean.mean, np.mean(np.array(arrays, np.float64), axis=0), atol=1e-9)


def test_mean_keeps_one_array() -> None:
    mean = Mean()
    for seed in range(3):
        mean.add(np.full((4, 5), seed, np.float32))
    kept = [value for value in vars(mean).values() if isinstance(value, np.ndarray)]
    assert [(k.shape, k.dtype.name) for k in kept] == [((4, 5), "float64")]
