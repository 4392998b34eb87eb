"""Artifacts with coded weights: the same answers, told sizes, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur.codegen.targets.find import find
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph
from secateur.ir.printer import print_graph
from secateur.pipeline import storing
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
    for codec in ("fast", "best", "huffman"):
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


def test_an_edited_codec_is_refused(tmp_path: Path) -> None:
    pipeline = "canonicalize,fuse,select,layout,memory,store{codec=zip}"
    with pytest.raises(SecateurError, match="no codec 'zip'"):
        secateur.compile(graph(), tmp_path / "x.so", pipeline=pipeline)
    assert not (tmp_path / "x.so").exists()
