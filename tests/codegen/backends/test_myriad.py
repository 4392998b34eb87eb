"""Models in float16 for OpenVINO's Myriad plugin: what they hold, that they compute the same, refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

import secateur
from secateur import Int8, SecateurError
from secateur.codegen.backends.myriad.table import FOLDED, OPERATORS, ROWS
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model

from ...secateur.small_networks import network, residual
from ...secateur.tflite_networks import unet


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


WRITTEN = {
    name
    for path in (Path(secateur.__file__).parents[1] / "ir" / "onnx_writer").glob("*.py")
    for name in re.findall(r'"([A-Z]\w+)"', path.read_text())
    if onnx.defs.has(name)
}
"""What graphs are written as: every name of an ONNX operator in the writer."""


def test_each_operator_that_is_written_has_a_row() -> None:
    """With a layer, a reason, or nothing to compute; names stand once, in order."""
    assert set(OPERATORS) >= WRITTEN > {"Conv", "Pad"}
    assert [row.operator for row in ROWS] == sorted({row.operator for row in ROWS})
    assert all(bool(row.layer) + bool(row.why) + (row.source == FOLDED) == 1 for row in ROWS)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Pad (x, pads)",
        "s = Shape (x) y = Slice (x, one, five, one)",
        "a = ReduceSum (x, one) y = Relu (a)",
        "a, y = Split <axis = 2> (x)",
        "y = Resize <mode = 'linear', coordinate_transformation_mode = 'half_pixel'> (x, , scales)",
        "a = Conv (x, w1) y = AveragePool <kernel_shape = [2, 3]> (a)",
        "a = Reshape (x, steps) y, h, c = LSTM <hidden_size = 2> (a, w, r)",
    ],
)
def test_operators_of_newer_opsets_are_written_in_the_older_one(nodes: str, tmp_path: Path) -> None:
    """It is a model by the checker, and computes the same but for float16."""
    rng = np.random.default_rng(0)
    made = network(nodes.replace("'", '"'), {"w": (1, 8, 9), "r": (1, 8, 2), "w1": (2, 3, 1, 1)})
    known: dict[str, NDArray[Any]] = {
        "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "one": np.array([1]), "five": np.array([2]),
        "steps": np.array([24, 1, 9]), "scales": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    made.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in known.items())
    graph = read_model(made)
    artifact = secateur.compile(graph, tmp_path / "m.onnx", "ncs2")
    model = onnx.load(artifact.path)
    onnx.checker.check_model(model, full_check=True)
    x = rng.normal(size=graph.inputs[0].type.shape).astype(np.float32)
    found = run(read_model(model), {"x": x.astype(np.float16)})["y"]
    np.testing.assert_allclose(found.astype(np.float32), run(graph, {"x": x})["y"], rtol=2e-2, atol=2e-2)


def test_functions_without_a_layer_are_written_as_what_they_are_made_of(tmp_path: Path) -> None:
    """A Gelu that an exporter wrote by Erf, and that fusion made one, among them."""
    nodes = (
        'a = Gelu (x) b = Gelu <approximate = "tanh"> (x) c = Mish (x) d = Neg (x) e = HardSigmoid (x) '
        "y = Concat <axis = 1> (a, b, c, d, e)"
    )
    made = network(nodes, {})
    made.opset_import[0].version = 20
    graph = read_model(made)
    model = onnx.load(secateur.compile(graph, tmp_path / "m.onnx", "ncs2").path)
    onnx.checker.check_model(model, full_check=True)
    assert not {"Gelu", "Mish", "Neg", "HardSigmoid"} & {node.op_type for node in model.graph.node}
    x = np.random.default_rng(0).normal(size=graph.inputs[0].type.shape).astype(np.float32)
    found = run(read_model(model), {"x": x.astype(np.float16)})["y"]
    np.testing.assert_allclose(found.astype(np.float32), run(graph, {"x": x})["y"], rtol=1e-2, atol=4e-3)


def test_a_transposed_convolution_stays_one(tmp_path: Path) -> None:
    """No layer spreads channels over blocks, as kernels of ours do for windows that tile the result."""
    made = network("y = ConvTranspose <strides = [2, 2]> (x, w)", {"w": (3, 1, 2, 2)})
    artifact = secateur.compile(read_model(made), tmp_path / "m.onnx", "ncs2")
    assert [node.op_type for node in onnx.load(artifact.path).graph.node] == ["ConvTranspose"]


def test_all_that_has_no_layer_is_one_error(tmp_path: Path) -> None:
    """Each with why and what to do; HardSwish alone stands in the plugin's source."""
    nodes = "a = HardSwish (x) c = Softsign (a) e = Conv (c, big) g = Reshape (e, flat) y = Pad (g, pads)"
    made = network(nodes, {})
    made.opset_import[0].version = 20
    big = np.full((2, 3, 1, 1), 1e6, np.float32)
    known: dict[str, NDArray[Any]] = {"big": big, "flat": np.array([2, 72]), "pads": np.array([0, 1, 0, 1])}
    made.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in known.items())
    with pytest.raises(SecateurError) as refused:
        secateur.compile(read_model(made), tmp_path / "m.onnx", "ncs2")
    first, *lines = str(refused.value).splitlines()
    assert first == "for ncs2, OpenVINO 2022.3 has no form of:"
    for wanted in (
        r"\(Softsign\): the table says that it is not supported: cut the model",
        r"\(Pad\): it pads 2 axes, and the layer works with 4",
        r"constant %big: 1e\+06 is more than float16 reaches",
    ):
        assert any(re.search(wanted, line) for line in lines), wanted
    assert len(lines) == 3
    assert list(tmp_path.iterdir()) == []


def test_windows_over_three_axes_have_no_layer(tmp_path: Path) -> None:
    made = network("y = Conv (x, w)", {"w": (2, 3, 1, 1, 1)}, "float[1,3,4,4,4] x")
    with pytest.raises(SecateurError, match="its window goes over 3 axes"):
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
