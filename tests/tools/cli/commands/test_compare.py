"""`secateur compare`: differences found, named, and turned into an exit code."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from secateur import compile
from secateur.ir.errors import SecateurError
from secateur.tools.checks.layers import Thresholds, difference

from ...conftest import Cli

LOOSE = Thresholds()


@pytest.mark.parametrize("against", ["onnxruntime", "interpreter"])
def test_a_sound_model_agrees(cli: Cli, model: Path, artifact: Path, against: str) -> None:
    result = cli("compare", model, artifact, "--against", against, "--json")
    assert result.code == 0
    found = result.json
    assert found["ok"]
    assert found["first"] is None
    assert [row["value"] for row in found["layers"]] == ["c", "e", "f", "g", "h", "y"]
    assert [row["value"] for row in found["artifact_outputs"]] == ["y"]


def test_tight_thresholds_fail_and_the_first_layer_is_named(cli: Cli, model: Path) -> None:
    result = cli("compare", model, "--rtol", 0, "--atol", 0)
    assert result.code == 1
    assert "DIFFERS" in result.out
    assert "first to differ from onnxruntime: value" in result.out
    assert cli("compare", model, "--min-sqnr", 500).code == 1


def test_an_artifact_of_other_weights_fails(cli: Cli, model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    weight = next(t for t in proto.graph.initializer if t.name == "bias3")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.5), "bias3"))
    onnx.save(proto, tmp_path / "other.onnx")
    other = compile(tmp_path / "other.onnx", tmp_path / "other.so").path
    result = cli("compare", model, other)
    assert result.code == 1
    assert "the artifact's outputs do not" in result.out


def test_ir_text_is_compared_with_the_interpreter(cli: Cli, model: Path, tmp_path: Path) -> None:
    cli("opt", model, "-o", tmp_path / "model.sir")
    assert cli("compare", tmp_path / "model.sir", "--json").json["against"] == "interpreter"
    result = cli("compare", tmp_path / "model.sir", "--against", "onnxruntime")
    assert result.code == 2
    assert "ONNX Runtime reads ONNX models alone" in result.err


def test_equal_arrays_do_not_differ() -> None:
    x = np.array([1.0, math.nan, math.inf, -math.inf], np.float32)
    found = difference("v", "n", x, x.copy(), Thresholds(0, 0, 1000))
    assert (found.largest, found.sqnr, found.passed) == (0, math.inf, True)


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ([1.0, 2.0], [1.0, 2.1]),
        ([1.0, 2.0], [1.0, math.nan]),
        ([1.0, math.nan], [1.0, 2.0]),
        ([1.0, math.inf], [1.0, -math.inf]),
        ([1.0, math.inf], [1.0, 3.0]),
        ([0.0, 0.0], [0.0, 1.0]),
    ],
)
def test_a_wrong_element_fails(reference: list[float], found: list[float]) -> None:
    assert not difference("v", "n", np.array(reference), np.array(found), LOOSE).passed


def test_error_is_measured_against_the_largest_magnitude() -> None:
    reference = np.array([1000.0, 0.0])
    assert difference("v", "n", reference, np.array([1000.0, 0.09]), LOOSE).passed
    assert not difference("v", "n", reference, np.array([1000.0, 0.11]), LOOSE).passed
    assert difference("v", "n", reference, np.array([1000.0, 0.1]), LOOSE).sqnr == pytest.approx(80)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(SecateurError, match="has shape"):
        difference("v", "n", np.zeros(2), np.zeros(3), LOOSE)
