"""Artifacts with coded weights: the same answers, told sizes, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import secateur
from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.codegen.weights.decoding import parts, room_of
from secateur.codegen.weights.streams import encode
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph
from secateur.ir.printer import print_graph
from secateur.pipeline import storing
from secateur.runtime.manifest import read_manifest
from secateur.runtime.session import load

WEIGHTS = np.round(np.random.default_rng(0).standard_normal((32, 16, 3, 3)) * 8).astype(np.float32)
TEXT = """
graph @small(%x: tensor<1x16x6x6xf32>) {
  %w = nn.constant() {value = dense_resource<"w">} : tensor<32x16x3x3xf32>
  %y = nn.conv(%x, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x32x6x6xf32>
  return %y as "y"
}
"""


def graph() -> Graph:
    return parse_graph(TEXT, {"w": WEIGHTS})


def test_the_answer_is_the_same_to_the_bit(tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((1, 16, 6, 6), dtype=np.float32)
    plain = secateur.compile(graph(), tmp_path / "plain.so")
    for codec in ("fast", "best", "smallest", "huffman"):
        artifact = secateur.compile(graph(), tmp_path / f"{codec}.so", compress=codec)
        with load(plain.path) as expected, load(artifact.path) as session:
            np.testing.assert_array_equal(session.run({"x": x})["y"], expected.run({"x": x})["y"])
            bytes = expected.manifest["weights_bytes"]
            assert session.manifest["weights_bytes"] == bytes
            assert session.manifest["coded_bytes"] < 0.5 * bytes  # whole numbers of few bits
        assert {op["stored"] for op in artifact.graph.operators if op.name == "nn.constant"} == {codec}


def test_stored_stays_in_the_text(tmp_path: Path) -> None:
    artifact = secateur.compile(graph(), tmp_path / "a.so", compress="rans")
    text, resources = print_graph(artifact.graph)
    assert 'stored = "rans"' in text
    again = secateur.compile(parse_graph(text, resources), tmp_path / "b.so", pipeline="layout,memory")
    with load(artifact.path) as first, load(again.path) as second:
        assert first.manifest["stored"] == second.manifest["stored"]


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(SecateurError, match="no codec 'zip'"):
        storing("canonicalize", "zip", find("host"))
    with pytest.raises(SecateurError, match="'store' already"):
        storing("canonicalize,fuse,select,layout,memory,store{codec=rans}", "best", find("host"))
    with pytest.raises(SecateurError, match="edgetpu hold weights as they are"):
        storing("canonicalize", "best", find("edgetpu"))
    assert storing("memory", None, find("edgetpu")) == "memory"
    assert storing("memory", "best", find("host")) == "memory,store"


def test_best_loads_on_a_board_as_fast_as_a_card_is_read(tmp_path: Path) -> None:
    """`zeros` takes the least of these, and a Cortex-A53 decodes it more slowly than a card is read."""
    there = (
        np.random.default_rng(0).random(WEIGHTS.shape)
        > np.linspace(0.3, 1, len(WEIGHTS))[:, None, None, None]
    )
    weights = np.where(there, WEIGHTS + np.float32(0.3), 0)
    assert "zeros" in {name for name, _ in parts(encode(weights, "small"), weights.nbytes)}
    given = parse_graph(TEXT, {"w": weights})
    artifact = secateur.compile(given, tmp_path / "best.so", "rpi3", compress="best")
    assert read_manifest(artifact.path)["loading_bytes"] <= room_of(["huffman"]) < room_of(["zeros"])


def test_an_edited_codec_is_refused(tmp_path: Path) -> None:
    pipeline = "canonicalize,fuse,select,layout,memory,store{codec=zip}"
    with pytest.raises(SecateurError, match="no codec 'zip'"):
        secateur.compile(graph(), tmp_path / "x.so", pipeline=pipeline)
    assert not (tmp_path / "x.so").exists()


# Winograd's weights ---------------------------------------------------------------------------------

WIDE = np.random.default_rng(3).standard_normal((32, 32, 3, 3), np.float32)
TILED = """
graph @tiled(%x: tensor<1x32x12x12xf32>) {
  %w = nn.constant() {value = dense_resource<"w">} : tensor<32x32x3x3xf32>
  %y = nn.conv(%x, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x32x12x12xf32>
  %r = nn.relu(%y) : tensor<1x32x12x12xf32>
  %z = nn.conv(%r, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x32x12x12xf32>
  return %z as "z"
}
"""


def tiled() -> Graph:
    return parse_graph(TILED, {"w": WIDE})


def answer(artifact: secateur.Artifact, threads: int = 1) -> tuple[NDArray[np.float32], Mapping[str, Any]]:
    """On some input, and the artifact's manifest."""
    x = np.random.default_rng(1).standard_normal((1, 32, 12, 12), dtype=np.float32)
    with load(artifact.path, threads) as session:
        return session.run({"x": x})["z"], session.manifest


def test_filters_are_stored_instead_of_what_winograd_makes_of_them(tmp_path: Path) -> None:
    offered = {c.primitive for c in AnalyticCosts(find("host")).choices(tiled().operators[1])}
    limits = secateur.Limits(without=tuple(offered - {"winograd4"}))
    artifacts = (
        secateur.compile(tiled(), tmp_path / f"{name}.so", limits=limits, compress=name)
        for name in ("fast", "best")
    )
    (expected, plain), (found, small) = map(answer, artifacts)
    np.testing.assert_array_equal(found, expected)
    row = small["transformed"]
    assert (row["arrays"], row["bytes"], row["model_bytes"]) == (1, 36 * 32 * 32 * 4, WIDE.nbytes)
    assert "transformed" not in plain
    assert small["coded_bytes"] < WIDE.nbytes + 64 < plain["coded_bytes"] / 2
    assert small["weights_bytes"] == plain["weights_bytes"]
    assert small["arena_bytes"] >= small["weights_bytes"] + WIDE.nbytes


def test_bytes_are_made_of_the_filters_of_the_direct_convolution(tmp_path: Path) -> None:
    """By one codec as by the best of all."""
    quantize = secateur.Int8("random:4", layers="all", winograd="4", layer_sqnr=0)
    small = secateur.compile(tiled(), tmp_path / "small.so", quantize=quantize, compress="huffman")
    tiles = [op for op in small.graph.operators if op.name == "prim.winograd_conv"]
    assert {op.operands[1].type.shape for op in tiles} == {WIDE.shape}
    found, manifest = answer(small)
    row = manifest["transformed"]
    assert (row["arrays"], row["model_bytes"]) == (3 * len(tiles), (WIDE.size + 4 * 32) * len(tiles))
    assert manifest["coded_bytes"] < 2 * (WIDE.size + 36 * 32 * 2) < row["bytes"]
    x = np.random.default_rng(1).standard_normal((1, 32, 12, 12), dtype=np.float32)
    np.testing.assert_array_equal(found, run(small.graph, {"x": x})["z"])
    np.testing.assert_array_equal(answer(small, threads=4)[0], found)
