"""Linear operators as matrices, samples of their windows, and streamed moments."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.graph import Graph, Operator
from secateur.ir.interpreter import run
from secateur.passes.prune.linear import moments as streamed
from secateur.passes.prune.linear.matrices import is_linear, matrices, overlaps, restored, weights_of
from secateur.passes.prune.linear.moments import Data, second_moments
from secateur.passes.prune.linear.samples import POSITIONS, columns, positions
from tests.passes.prune.calibrated import TWO, batches
from tests.passes.quantize.test_equalize import PAIRS
from tests.passes.texts import Array, build

LAYERS = {
    "strided": "%x: tensor<2x4x7x6xf32> | 6x4x3x2 | nn.conv(%x, %w) {strides = [2, 1], "
    "pads = [1, 0, 0, 1], dilations = [1, 2]} : tensor<2x6x3x5xf32>",
    "grouped": "%x: tensor<2x4x5x5xf32> | 6x2x3x3 | nn.conv(%x, %w) {SAME, groups = 2} : tensor<2x6x5x5xf32>",
    "depthwise": "%x: tensor<1x4x5x5xf32> | 8x1x3x3 | "
    "nn.conv(%x, %w) {SAME, groups = 4} : tensor<1x8x5x5xf32>",
    "one axis": "%x: tensor<2x4x9xf32> | 5x4x3 | nn.conv(%x, %w) {strides = [1], pads = [1, 1], "
    "dilations = [1]} : tensor<2x5x9xf32>",
    "matmul": "%x: tensor<3x4xf32> | 4x5 | nn.matmul(%x, %w) : tensor<3x5xf32>",
    "rows": "%x: tensor<2x3x4xf32> | 4x5 | nn.matmul(%x, %w) : tensor<2x3x5xf32>",
    "transposed": "%x: tensor<2x4x3x3xf32> | 4x3x2x2 | nn.conv_transpose(%x, %w) {strides = [2, 2], "
    "pads = [0, 0, 0, 0], dilations = [1, 1], output_padding = [0, 0], groups = 2} : tensor<2x6x6x6xf32>",
}


def layer(name: str) -> tuple[Graph, Operator]:
    port, shape, text = LAYERS[name].split(" | ")
    graph = build(f'graph @g({port}) {{\n%w = const : tensor<{shape}xf32>\n%y = {text}\nreturn %y as "y"\n}}')
    return graph, graph.operators[-1]


def arranged(op: Operator, result: Array) -> Array:
    """A result as the matrices give it: groups x samples x rows."""
    if op.name == "nn.matmul":
        return result.reshape(1, -1, result.shape[-1])
    n, m, *extents = result.shape
    if op.name == "nn.conv":
        return (
            result.reshape(n, op["groups"], m // op["groups"], -1)
            .transpose(1, 0, 3, 2)
            .reshape(op["groups"], -1, m // op["groups"])
        )
    h, w = extents[0] // 2, extents[1] // 2
    split = result.reshape(n, op["groups"], m // op["groups"], h, 2, w, 2)
    return split.transpose(1, 0, 3, 5, 2, 4, 6).reshape(op["groups"], n * h * w, -1)


@pytest.mark.parametrize("name", LAYERS)
def test_columns_times_matrices_are_the_result(name: str) -> None:
    graph, op = layer(name)
    (batch,) = batches(graph, 1)
    found = np.matmul(columns(op, batch["x"], positions(op, 0)), matrices(op).swapaxes(1, 2))
    np.testing.assert_allclose(found, arranged(op, run(graph, batch)["y"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_matrices_become_the_weights_they_were(name: str) -> None:
    _, op = layer(name)
    assert not overlaps(op)
    np.testing.assert_array_equal(restored(op, matrices(op)), weights_of(op))


def test_large_images_are_sampled_without_repetition_and_alike_for_one_seed() -> None:
    graph = build(PAIRS["convolutions"].replace("6x6", "12x12"))
    op = next(op for op in graph.operators if op.name == "nn.conv")
    chosen = set(zip(*(axis.tolist() for axis in positions(op, 3)), strict=True))
    assert len(chosen) == POSITIONS
    assert all(0 <= i < 12 for place in chosen for i in place)
    assert chosen == set(zip(*(axis.tolist() for axis in positions(op, 3)), strict=True))
    assert chosen != set(zip(*(axis.tolist() for axis in positions(op, 4)), strict=True))


@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_streamed_moments_are_those_of_all_columns_whatever_the_budget(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small budget takes a pass over the data for each layer, and gives the same."""
    monkeypatch.setattr(streamed, "BUDGET", budget)
    graph = build(TWO)
    data, passes = Data(batches(graph, 5)), list[int]()
    operators = [op for op in graph.operators if is_linear(op)]
    watched = Data(data.batches, progress=lambda _what, done, _total: passes.append(done))
    for op, moments in second_moments(graph, operators, watched):
        inputs = [a for (a,) in data.values(graph, [op.operands[0]])]
        whole = np.concatenate([columns(op, x, positions(op, 0))[0] for x in inputs]).astype(np.float64)
        np.testing.assert_allclose(moments.covariances[0], np.cov(whole.T, bias=True), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(moments.means[0], whole.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert len(passes) == (1 if budget else 2)


def test_a_kernel_larger_than_its_stride_overlaps() -> None:
    graph = build("""graph @g(%x: tensor<1x4x3x3xf32>) {
  %w = const : tensor<4x3x3x3xf32>
  %y = nn.conv_transpose(%x, %w) {strides = [2, 2], pads = [0, 0, 0, 0], dilations = [1, 1],
    output_padding = [0, 0]} : tensor<1x3x7x7xf32>
  return %y as "y"
}""")
    assert overlaps(graph.operators[-1])
