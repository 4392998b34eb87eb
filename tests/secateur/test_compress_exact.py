"""Artifacts that hold filters instead of what exact Winograd makes of them: the same answers to the bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur.codegen.targets.host import cpu_flags
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.parser import parse_graph
from secateur.options import Kind
from secateur.runtime.session import load
from tests.codegen.cross_harness import EMULATORS
from tests.sampled import sampled
from tests.secateur.test_quantize_cross import answer

STEM = np.random.default_rng(4).standard_normal((32, 3, 7, 7), np.float32)
TILED = np.random.default_rng(5).standard_normal((32, 32, 3, 3), np.float32)
IMAGE = np.random.default_rng(6).standard_normal((1, 3, 24, 24), np.float32)
TEXT = """
graph @exact(%x: tensor<1x3x24x24xf32>) {
  %s = nn.constant() {value = dense_resource<"s">} : tensor<32x3x7x7xf32>
  %w = nn.constant() {value = dense_resource<"w">} : tensor<32x32x3x3xf32>
  %y = nn.conv(%x, %s) {strides = [2, 2], pads = [3, 3, 3, 3], dilations = [1, 1]} : tensor<1x32x12x12xf32>
  %r = nn.relu(%y) : tensor<1x32x12x12xf32>
  %z = nn.conv(%r, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x32x12x12xf32>
  return %z as "z"
}
"""
HERE = [n for n in ("x86-64-v3", "x86-64-v2") if {*TARGETS[n].features} <= cpu_flags()]
CHOSEN = ("exact_strided_winograd", "exact_winograd4x4")
OTHERS = ("direct", "im2row", "kn2row", "exact_winograd2x2", "exact_winograd4x2", "exact_winograd2x4")


def compiled(target: str, path: Path, kind: Kind, codec: str | None) -> secateur.Artifact:
    """A layer by each primitive of `CHOSEN`, `OTHERS` being forbidden."""
    quantize = secateur.Int8("random:4", layers="all", winograd="off")
    limits = secateur.Limits(without=OTHERS)
    graph = parse_graph(TEXT, {"s": STEM, "w": TILED})
    made = secateur.compile(graph, path, target, quantize=quantize, limits=limits, kind=kind, compress=codec)
    chosen = [op["primitive"] for op in made.graph.operators if op.name == "prim.linear_conv"]
    assert chosen == list(CHOSEN)
    return made


@pytest.mark.parametrize("target", HERE)
def test_the_answer_is_the_same_to_the_bit(target: str, tmp_path: Path) -> None:
    plain = compiled(target, tmp_path / "plain.so", "so", None)
    small = compiled(target, tmp_path / "small.so", "so", "best")
    with load(plain.path) as expected, load(small.path) as session:
        np.testing.assert_array_equal(session.run({"x": IMAGE})["z"], expected.run({"x": IMAGE})["z"])
        row, weights = session.manifest["transformed"], session.manifest["weights_bytes"]
        assert session.manifest["coded_bytes"] < row["model_bytes"] + 2048 < weights / 5
    assert row["arrays"] == 2
    assert row["model_bytes"] == 32 * 16 * 16 + TILED.size  # four phases of 3 channels, and one of none
    assert row["bytes"] == 2 * 36 * 32 * (16 + 32)
    with load(small.path, 4) as session, load(plain.path) as expected:
        np.testing.assert_array_equal(session.run({"x": IMAGE})["z"], expected.run({"x": IMAGE})["z"])


@pytest.mark.slow  # the first link for a target builds its libc: minutes
@pytest.mark.parametrize("target", sampled(["armv8-a", "armv7-a+neon"], ["armv7-a+neon"]))
def test_the_answer_on_arm_is_the_same_to_the_bit(target: str, tmp_path: Path) -> None:
    emulator = EMULATORS[target]
    if shutil.which(emulator[0]) is None:
        pytest.skip(f"{emulator[0]} is not installed: apt-get install qemu-user")
    answers = []
    for codec in (None, "best"):
        made = compiled(target, tmp_path / str(codec), "dir", codec)
        answers.append(answer([*emulator, str(made.path / "bench")], IMAGE, tmp_path))
    np.testing.assert_array_equal(answers[1], answers[0])
    assert np.ptp(answers[0]) > 0
