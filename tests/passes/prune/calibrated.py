"""Networks with calibration data, for criteria and repair."""

from __future__ import annotations

import numpy as np

from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph, Value, constant_of
from secateur.ir.registry import create
from secateur.passes.prune.criteria.criterion import Evidence
from secateur.passes.prune.linear.moments import Data
from secateur.passes.quantize.calibration.executor import Array, Arrays
from secateur.passes.quantize.measure import outputs

# Two layers, the second a 1x1 convolution: its error is that of its input, element by element.
TWO = """
graph @two(%x: tensor<1x3x6x6xf32>) {
  %w1 = const : tensor<6x3x3x3xf32>
  %w2 = const : tensor<5x6x1x1xf32>
  %h = nn.conv(%x, %w1) {SAME} : tensor<1x6x6x6xf32> loc("one")
  %r = nn.relu(%h) : tensor<1x6x6x6xf32>
  %y = nn.conv(%r, %w2) {VALID} : tensor<1x5x6x6xf32> loc("two")
  return %y as "y"
}
"""

# The six channels between the layers are combinations of four: the second layer can absorb the loss of two.
DEPENDENT = """
graph @dependent(%x: tensor<1x4x5x5xf32>) {
  %w1 = const : tensor<6x4x1x1xf32>
  %w2 = const : tensor<5x6x3x3xf32>
  %h = nn.conv(%x, %w1) {VALID} : tensor<1x6x5x5xf32> loc("one")
  %y = nn.conv(%h, %w2) {SAME} : tensor<1x5x5x5xf32> loc("two")
  return %y as "y"
}
"""


def batches(graph: Graph, count: int, seed: int = 0) -> list[Arrays]:
    """Normally distributed images, each with a mean of its own."""
    choose = np.random.default_rng(seed)

    def image(port: Value) -> Array:
        mean = choose.standard_normal((*port.type.shape[:2], *[1] * (port.type.rank - 2)))
        return (choose.standard_normal(port.type.shape) + mean).astype(np.float32)

    return [{port.name: image(port) for port in graph.inputs} for _ in range(count)]


def evidence(graph: Graph, count: int = 12, seed: int = 0) -> Evidence:
    return Evidence(graph, find_channels(graph).groups, Data(batches(graph, count, seed)))


def answers(graph: Graph, data: Data) -> Array:
    """The first output on every batch, float64."""
    return np.stack([found[0] for found in outputs(graph, data.batches, data.execute)]).astype(np.float64)


def error(wanted: Graph, got: Graph, data: Data) -> float:
    """The variance of what differs (its mean apart), as a share of that of the answers, over channels."""
    right = answers(wanted, data)
    axes = (0, 1, *range(3, right.ndim))
    difference = right - answers(got, data)
    return float(difference.var(axis=axes).sum() / right.var(axis=axes).sum())


def with_constant(graph: Graph, name: str, array: Array) -> Graph:
    """A copy in which the constant called `name` has these elements."""
    copy = graph.clone()
    old = next(v for v in copy.values() if v.name == name)
    assert constant_of(old) is not None
    new = create("nn.constant", [], {"value": array.astype(np.float32).reshape(old.type.shape)})
    new.result.name = name
    copy.operators.insert(0, new)
    copy.replace_value(old, new.result)
    copy.remove_dead()
    return copy
