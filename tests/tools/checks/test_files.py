"""The checks of TFLite files: against LiteRT's kernels, and against what a closed compiler left outside."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from secateur.ir.errors import SecateurError
from secateur.tools.checks import coral, litert

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


def test_verdicts_are_held_against_compiled_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A compiled file of which everything is left, and one that is as before."""
    (tmp_path / "m.tflite").write_bytes(file_of(random_graph("looked up", 0)))
    (tmp_path / "m_edgetpu.tflite").write_bytes(file_of(random_graph("looked up", 0)))
    assert coral.main([str(tmp_path)]) == 0
    assert "of 1 agree." in capsys.readouterr().out
    assert coral.main([str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["ours"]["GATHER"] == row["compiler"]["GATHER"] == 1
    with pytest.raises(SecateurError, match="lies beside"):
        coral.main([str(tmp_path / "none")])
