"""Models in float16 for OpenVINO's Myriad plugin: what they hold, that they compute the same, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import secateur
from secateur import Int8, SecateurError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model

from ...secateur.small_networks import network, residual
from ...secateur.tflite_networks import MOBILE, MOBILE_WEIGHTS, unet


def test_a_model_in_float16_computes_nearly_the_same(tmp_path: Path) -> None:
    graph = unet()
    artifact = secateur.compile(graph, tmp_path / "m.onnx", "ncs2")
    model = onnx.load(artifact.path)
    onnx.checker.check_model(model, full_check=True)
    assert ([o.version for o in model.opset_import], model.ir_version) == ([14], 8)
    scales = {node.input[2] for node in model.graph.node if node.op_type == "Resize"}  # float32 by definition
    floats = {i.data_type for i in model.graph.initializer if i.name not in scales} - {TensorProto.INT64}
    ends = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
    assert floats == ends == {TensorProto.FLOAT16}
    x = np.random.default_rng(0).normal(size=graph.inputs[0].type.shape).astype(np.float32)
    wanted = run(graph, {"x": x})["y"]
    found = run(read_model(model), {"x": x.astype(np.float16)})["y"].astype(np.float32)
    noise = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert 0 < noise < 3e-3


def test_a_network_with_hard_swish_and_gates_is_written(tmp_path: Path) -> None:
    """HardSigmoid alone is none of the plugin's; HardSwish is."""
    graph = read_model(network(MOBILE, MOBILE_WEIGHTS, "float[1,3,16,24] x"))
    with pytest.raises(
        SecateurError, match=r"for ncs2, OpenVINO's table of operators leaves out:\n.*HardSigmoid"
    ):
        secateur.compile(graph, tmp_path / "m.onnx", "ncs2")
    assert list(tmp_path.iterdir()) == []


def test_what_float16_does_not_reach_is_refused(tmp_path: Path) -> None:
    made = network("y = Conv (x, w1, b1)", {"w1": (2, 3, 1, 1)})
    made.graph.initializer.append(numpy_helper.from_array(np.array([1e6, 0], np.float32), "b1"))
    with pytest.raises(SecateurError, match="1e\\+06 is more than float16 reaches"):
        secateur.compile(read_model(made), tmp_path / "m.onnx", "ncs2")


def test_a_model_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the artifact's name is the model's, with the suffix that it has already."""
    monkeypatch.chdir(tmp_path)
    onnx.save(network("y = Conv (x, w1)", {"w1": (2, 3, 1, 1)}), "m.onnx")
    before = Path("m.onnx").read_bytes()
    for output in (None, tmp_path / "m.onnx"):
        with pytest.raises(SecateurError, match=r"m\.onnx: is the model itself"):
            secateur.compile("m.onnx", output, "ncs2")
    assert Path("m.onnx").read_bytes() == before


def test_bytes_are_refused(tmp_path: Path) -> None:
    graph = residual()
    with pytest.raises(
        SecateurError, match="ncs2 takes networks in float; compile for it without a quantization"
    ):
        secateur.compile(graph, tmp_path / "m.onnx", "ncs2", quantize=Int8("random:1"))
