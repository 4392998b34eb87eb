"""Error powers of layers add up: what is predicted for a network against what artifacts differ by."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import secateur
from secateur import Limits, Watch
from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.host import host
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph
from secateur.tools.cli.choices import Choices

CHANNELS, SIZE, LAYERS = 32, 20, 5
OPTIONS = "{strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]}"
TILES = ("winograd2", "winograd4", "winograd6")


def chain() -> Graph:
    """Convolutions with rectifiers between, whose weights keep the size of what passes."""
    image = f"tensor<1x{CHANNELS}x{SIZE}x{SIZE}xf32>"
    weights = f"tensor<{CHANNELS}x{CHANNELS}x3x3xf32>"
    lines = [f"graph @chain(%r0: {image}) {{"]
    for i in range(LAYERS):
        lines += [
            f'  %w{i} = nn.constant() {{value = dense_resource<"w{i}">}} : {weights}',
            f'  %c{i} = nn.conv(%r{i}, %w{i}) {OPTIONS} : {image} loc("c{i}")',
            f"  %r{i + 1} = nn.relu(%c{i}) : {image}",
        ]
    lines += [f'  return %r{LAYERS} as "y"', "}"]
    rng = np.random.default_rng(0)
    size = math.sqrt(2 / (9 * CHANNELS))
    shape = (CHANNELS, CHANNELS, 3, 3)
    arrays = {f"w{i}": (size * rng.standard_normal(shape)).astype(np.float32) for i in range(LAYERS)}
    return parse_graph("\n".join(lines), arrays)


def answer(path: Path) -> NDArray[np.float64]:
    x = np.random.default_rng(1).standard_normal((1, CHANNELS, SIZE, SIZE)).astype(np.float32)
    with secateur.load(path) as session:
        answers: NDArray[np.float64] = session.run({"r0": x})["y"].astype(np.float64)
        return answers


def with_tiles(layers: int, path: Path) -> tuple[float, NDArray[np.float64]]:
    """The noise predicted and the answer with F(6, 3) in the first `layers` and no Winograd in others."""
    convolution = next(op for op in chain().operators if op.name == "nn.conv")
    offered = {choice.primitive for choice in AnalyticCosts(host()).choices(convolution)}
    without = [f"{name}@c{i}" for i in range(layers) for name in offered - {"winograd6"}]
    without += [f"{name}@c{i}" for i in range(layers, LAYERS) for name in TILES]
    choices, limits = Choices(), Limits(without=without)
    artifact = secateur.compile(chain(), path, limits=limits, watch=Watch(observers=(choices,)))
    return sum(reason.choice.noise for reason in choices.reasons), answer(artifact.path)


def test_the_error_of_a_network_is_near_the_sum_over_its_layers(tmp_path: Path) -> None:
    none, exact = with_tiles(0, tmp_path / "direct.so")
    assert none == 0
    predictions = []
    for layers in (1, 3, LAYERS):
        predicted, got = with_tiles(layers, tmp_path / "tiles.so")
        measured = float(((got - exact) ** 2).sum() / (exact**2).sum())
        assert measured / 4 < predicted < measured * 4
        predictions.append(predicted)
    assert predictions == sorted(predictions)
