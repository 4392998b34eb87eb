"""A limit on the library: plans of fewer bytes of weights, then weights that are stored coded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph
from secateur.options import Limits
from secateur.passes.select.solver import ImpossibleError
from secateur.pipeline import BESIDE_WEIGHTS
from secateur.runtime.manifest import read_manifest
from secateur.runtime.session import load
from secateur.size import SizeError, codecs_within, library_bytes, within_size

MODEL = Path(__file__).parents[2] / "examples/digits/resnet20.onnx"
RNG = np.random.default_rng(3)
CONSTANTS = {
    "v": np.round(RNG.standard_normal((64, 32, 3, 3)) * 8).astype(np.float32),
    "w": np.round(RNG.standard_normal((96, 64, 3, 3)) * 8).astype(np.float32),
}
TEXT = """
graph @two(%x: tensor<1x32x8x8xf32>) {
  %v = nn.constant() {value = dense_resource<"v">} : tensor<64x32x3x3xf32>
  %w = nn.constant() {value = dense_resource<"w">} : tensor<96x64x3x3xf32>
  %y = nn.conv(%x, %v) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x64x8x8xf32>
  %z = nn.conv(%y, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x96x8x8xf32>
  return %z as "z"
}
"""
DENSE = sum(array.nbytes for array in CONSTANTS.values())


def graph() -> Graph:
    return parse_graph(TEXT, CONSTANTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["so", "tar"])
def test_a_library_keeps_its_size(kind: secateur.options.Kind, tmp_path: Path) -> None:
    free = secateur.compile(MODEL, tmp_path / "free.so", "rpi4").path.stat().st_size
    limit = free * 3 // 4
    artifact = secateur.compile(MODEL, tmp_path / "small", "rpi4", limits=Limits(size=limit), kind=kind)
    assert library_bytes(artifact.path) <= limit
    primitives = {str(op.get("primitive")) for op in artifact.graph.operators}
    assert any(name.startswith("winograd") for name in primitives)  # where they take little


def test_weights_are_coded_where_nothing_else_keeps_the_limit(tmp_path: Path) -> None:
    limit = DENSE - 1
    artifact = secateur.compile(graph(), tmp_path / "small.so", limits=Limits(size=limit))
    assert artifact.path.stat().st_size <= limit
    manifest = read_manifest(artifact.path)
    assert manifest["coded_bytes"] < DENSE < manifest["weights_bytes"] + 64
    plan = artifact.graph.clone()
    stored = [op.attributes.pop("stored", "") for op in plan.operators]
    assert "best" in stored
    plain = secateur.compile(plan, tmp_path / "plain.so", pipeline="layout,memory")
    x = np.random.default_rng(1).standard_normal((1, 32, 8, 8), dtype=np.float32)
    with load(plain.path) as expected, load(artifact.path) as session:
        np.testing.assert_array_equal(session.run({"x": x})["z"], expected.run({"x": x})["z"])
        assert session.load_seconds > 0


def test_only_as_many_are_coded_as_must_be(tmp_path: Path) -> None:
    """Room for the larger layer's weights as they are: the smaller one's are decoded when it is loaded."""
    convs = [op for op in graph().operators if op.name == "nn.conv"]
    offered = {c.primitive for op in convs for c in AnalyticCosts(find("host")).choices(op)}
    without = tuple(name for name in offered if name.startswith("winograd"))
    path = tmp_path / "small.so"
    secateur.compile(graph(), path, limits=Limits(without=without), compress="best")
    code = library_bytes(path) - read_manifest(path)["coded_bytes"]
    smaller, larger = (CONSTANTS[name].nbytes for name in "vw")
    limit = code + larger + smaller // 2
    secateur.compile(graph(), path, limits=Limits(without=without, size=limit))
    assert library_bytes(path) <= limit
    stored = read_manifest(path)["stored"]
    assert stored.pop("raw")["bytes"] == larger
    assert sum(row["bytes"] for row in stored.values()) == smaller


@pytest.mark.slow
def test_a_size_that_nothing_keeps_names_the_least(tmp_path: Path) -> None:
    """The size that the error names is kept. It is that of the least weights: code may differ by a little."""
    with pytest.raises(
        SizeError, match=r"nothing fits in 10000 bytes; the smallest library found has \d+$"
    ) as error:
        secateur.compile(graph(), tmp_path / "small.so", limits=Limits(size=10_000))
    assert list(tmp_path.iterdir()) == []
    least = error.value.bytes
    artifact = secateur.compile(graph(), tmp_path / "small.so", limits=Limits(size=least))
    assert artifact.path.stat().st_size <= least


# The search, on compilations that are made up --------------------------------------------------------


def test_what_is_too_large_is_tried_with_fewer_weights() -> None:
    """700 bytes of code beside the weights, which are what they may be."""
    asked: list[int] = []

    def attempt(limits: Limits, _codec: str | None) -> int:
        assert limits.size is not None
        asked.append(limits.size)
        if limits.size + 700 > 1000:
            raise SizeError(limits.size + 700, 1000)
        return limits.size + 700

    assert within_size(attempt, Limits(size=1000)) == 1000
    assert asked == [1000, 300]


def test_what_stays_too_large_is_refused_with_the_smallest_found() -> None:
    def attempt(limits: Limits, _codec: str | None) -> int:
        if limits.size == 1000:
            raise SizeError(1700, 1000)
        raise ImpossibleError("weights")

    with pytest.raises(SizeError, match="nothing fits in 1000 bytes; the smallest library found has 1700"):
        within_size(attempt, Limits(size=1000))


def test_codecs_come_after_weights_as_they_are() -> None:
    tried: list[tuple[str | None, int | None]] = []

    def attempt(limits: Limits, codec: str | None) -> str:
        tried.append((codec, limits.size))
        if codec is None:
            raise ImpossibleError("weights", toll=5000)
        if codec == "best" and limits.size != 900:
            raise SizeError(1100, 1000)
        if codec == "best":
            raise ImpossibleError("weights", toll=950)
        return "small"

    limits = Limits(size=1000)
    assert within_size(attempt, limits, codecs_within(limits, None, find("host"))) == "small"
    best = [("best", 1000), ("best", 900), ("best", 950 + BESIDE_WEIGHTS)]
    assert tried == [(None, 1000), *best, ("smallest", 1000)]


def test_a_named_codec_is_all_that_is_tried() -> None:
    assert codecs_within(Limits(size=1000), "rans", find("host")) == (None,)
    assert codecs_within(Limits(), None, find("host")) == (None,)
    assert codecs_within(Limits(size=1000), None, find("edgetpu")) == (None,)
    assert codecs_within(Limits(size=1000, weights_memory=0), None, find("host"))[0] == "fast"
