"""Whole graphs as PyTorch modules: the interpreter's answers, any batch, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import secateur
from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph, constant_of
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph
from tests.passes.test_random_graphs import networks

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-train installs it")

from secateur.train.learned import Role, constants, role_of  # noqa: E402
from secateur.train.network import Network  # noqa: E402

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits/resnet20.onnx"

SMALL = """
graph @small(%x: tensor<1x2x4x4xf32>) {
  %w = nn.constant() {value = dense<3x2x1x1xf32: [1.0, -1.0, 0.5, 2.0, -0.5, 1.0]>} : tensor<3x2x1x1xf32>
  %half = nn.constant() {value = dense<f32: [0.5]>} : tensor<f32>
  %b = nn.constant() {value = dense<3xf32: [0.1, 0.2, 0.3]>} : tensor<3xf32>
  %bias = nn.reshape(%b) {shape = [3, 1, 1]} : tensor<3x1x1xf32>
  %c = nn.conv(%x, %w) {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]} : tensor<1x3x4x4xf32>
  %a = nn.add(%c, %bias) : tensor<1x3x4x4xf32>
  %h = nn.mul(%a, %half) : tensor<1x3x4x4xf32>
  %y = nn.reshape(%h) {shape = [1, 48]} : tensor<1x48xf32>
  return %y as "y"
}
"""


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def outputs(network: Network, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    network.eval()
    with torch.no_grad():
        found = network({name: torch.from_numpy(array) for name, array in feeds.items()})
    return {name: tensor.numpy() for name, tensor in found.items()}


@settings(max_examples=60)
@given(networks(), st.integers(0, 2**32 - 1))
def test_random_networks_give_the_interpreters_answers(graph: Graph, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((1, 4, 6, 6)).astype(np.float32)
    expected, found = run(graph, {"x": x}), outputs(Network(graph), {"x": x})
    for name, array in expected.items():
        scale = max(1.0, float(np.abs(array[np.isfinite(array)]).max(initial=0)))
        np.testing.assert_allclose(found[name] / scale, array / scale, rtol=1e-4, atol=1e-4)


def test_a_trained_network_gives_the_interpreters_answers_in_batches() -> None:
    graph = secateur.read(DIGITS)
    images = noise(3, 3, 32, 32)
    found = outputs(Network(graph), {"image": images})["logits"]
    expected = [run(graph, {"image": image[None]})["logits"][0] for image in images]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_what_was_learned_returns_into_the_graph_under_its_names() -> None:
    graph = parse_graph(SMALL)
    network = Network(graph)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    back = network.graph()
    x = noise(1, 2, 4, 4)
    assert [op.result.name for op in back.operators] == [op.result.name for op in graph.operators]
    np.testing.assert_allclose(run(back, {"x": x})["y"], 2 * run(graph, {"x": x})["y"], rtol=1e-6)
    np.testing.assert_allclose(
        run(back, {"x": x})["y"], outputs(network, {"x": x})["y"], rtol=1e-5, atol=1e-6
    )


def test_a_network_keeps_no_hold_of_the_graph_it_came_from() -> None:
    graph = parse_graph(SMALL)
    network = Network(graph)
    before = [np.array(constant_of(op.result)) for op in constants(graph)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    for old, op in zip(before, constants(graph), strict=True):
        np.testing.assert_array_equal(old, constant_of(op.result))


def test_what_is_learned() -> None:
    roles = {op.result.name: role_of(op.result) for op in constants(parse_graph(SMALL))}
    assert roles == {"w": Role.LEARNED, "half": Role.FIXED, "b": Role.LEARNED}
    digits = secateur.read(DIGITS)
    found = {op.result.name: role_of(op.result) for op in constants(digits)}
    assert {role for name, role in found.items() if "running" in name} == {Role.RUNNING}
    assert {role for name, role in found.items() if "running" not in name} == {Role.LEARNED}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%y = nn.transpose(%x) {perm = [1, 0]} : tensor<8x1xf32>", "output 'y' of shape .* has no batch"),
        (
            "%g = nn.constant() {value = dense<1x1x2x2xf32: [0.5, 0.5, 0.5, 0.5]>} : tensor<1x1x2x2xf32>\n"
            "  %z = nn.reshape(%x) {shape = [1, 2, 2, 2]} : tensor<1x2x2x2xf32>\n"
            "  %y = nn.grid_sample(%z, %g) : tensor<1x2x1x2xf32>",
            r"nn\.grid_sample does not take a batch of 2",
        ),
    ],
)
def test_a_graph_that_cannot_be_trained_says_why(text: str, message: str) -> None:
    graph = parse_graph(f'graph @g(%x: tensor<1x8xf32>) {{\n  {text}\n  return %y as "y"\n}}\n')
    with pytest.raises(ModelError, match=message):
        Network(graph)
