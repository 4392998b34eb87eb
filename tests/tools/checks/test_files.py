"""The checks of TFLite files: against LiteRT's kernels, and against what a closed compiler left outside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import secateur
from secateur import Int8
from secateur.tools.checks import converters, coral, litert

from ...codegen.backends.litert import file_of
from ...codegen.backends.random_bytes import random_graph
from ...secateur.small_networks import RESIDUAL_WEIGHTS, network


def test_a_network_is_held_against_both_kernels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is refused is a row too, and a failure."""
    shapes = {name: RESIDUAL_WEIGHTS[name] for name in ("w1", "b1")}
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    onnx.save(network("a = Conv (x, w1, b1) y = Softmax <axis = 1> (a)", shapes), good)
    onnx.save(network("a = Conv (x, w1, b1) y = LRN <size = 3> (a)", shapes), bad)
    assert litert.main([str(good), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["reference"], row["compared"], row["refused"]) == (0, 4 * 6 * 7, "")
    assert litert.main([str(good), str(bad)]) == 1
    assert "no form in an 8-bit TFLite file" in capsys.readouterr().out


def test_converters_files_stand_beside_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Given behind the options, as the command is written; the same file has the same noise."""
    model, other = tmp_path / "m.onnx", tmp_path / "other.tflite"
    onnx.save(network("y = Conv (x, w1, b1)", {name: RESIDUAL_WEIGHTS[name] for name in ("w1", "b1")}), model)
    images = np.random.default_rng(0).normal(size=(2, 3, 8, 9)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    secateur.compile(model, other, "litert", quantize=Int8([{"x": image[None]} for image in images]))
    words = ["--calibration", str(tmp_path / "x.npy"), "--images", str(tmp_path / "x.npy")]
    assert converters.main([str(model), *words, str(other)]) == 0
    theirs, ours, tiled = capsys.readouterr().out.splitlines()[2:]
    assert [row.split()[0] for row in (theirs, ours, tiled)] == [str(other), "secateur", "secateur"]
    assert _noise(theirs) == _noise(ours) > 30
    assert converters.main([str(tmp_path / "none.onnx"), *words]) == 2
    assert "none.onnx" in capsys.readouterr().err


def _noise(row: str) -> float:
    return float(row.split(" dB")[0].split()[-1])


def test_verdicts_are_held_against_compiled_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A compiled file of which everything is left, and one that is as before."""
    (tmp_path / "m.tflite").write_bytes(file_of(random_graph("looked up", 0)))
    (tmp_path / "m_edgetpu.tflite").write_bytes(file_of(random_graph("looked up", 0)))
    assert coral.main([str(tmp_path)]) == 0
    assert "of 1 agree." in capsys.readouterr().out
    assert coral.main([str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["ours"]["GATHER"] == row["compiler"]["GATHER"] == 1
    assert coral.main([str(tmp_path / "none")]) == 2
    assert "lies beside" in capsys.readouterr().err
