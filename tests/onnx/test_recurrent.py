"""LSTM, GRU and RNN nodes of every form, interpreted and compiled, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import secateur
from secateur.ir.errors import ModelError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from tests.sampled import sampled_rows

Array = NDArray[Any]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, FEATURES = 5, 3, 4

CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("LSTM", 7, {}),
    ("LSTM", 20, {"direction": "reverse"}),
    ("LSTM", 37, {"direction": "bidirectional"}),
    ("LSTM", 8, {"activations": ["HardSigmoid", "Softsign", "Relu"], "activation_alpha": [0.3],
                 "activation_beta": [0.4]}),
    ("LSTM", 9, {"activations": ["Sigmoid", "LeakyRelu", "Elu"], "activation_alpha": [0.2, 0.7]}),
    ("GRU", 7, {}),
    ("GRU", 20, {"direction": "reverse", "linear_before_reset": 1}),
    ("GRU", 37, {"direction": "bidirectional", "linear_before_reset": 1}),
    ("GRU", 37, {"direction": "bidirectional"}),
    ("RNN", 7, {}),
    ("RNN", 70, {"direction": "bidirectional", "activations": ["Relu", "Relu"]}),
    ("RNN", 16, {"direction": "reverse", "activations": ["Softplus"]}),
]  # fmt: skip
GIVEN = ("", "b", "bhc")


def _directions(attributes: Mapping[str, Any]) -> int:
    return 2 if attributes.get("direction") == "bidirectional" else 1


def _tensors(kind: str, hidden: int, directions: int) -> dict[str, Array]:
    """Every input but X and sequence_lens, small enough that states stay apart."""
    choose, gates = np.random.default_rng(hidden), GATES[kind]
    shapes = {
        "w": (directions, gates * hidden, FEATURES),
        "r": (directions, gates * hidden, hidden),
        "b": (directions, 2 * gates * hidden),
        "h": (directions, BATCH, hidden),
        "c": (directions, BATCH, hidden),
        "p": (directions, 3 * hidden),
    }
    return {name: (choose.standard_normal(s) / 2).astype(np.float32) for name, s in shapes.items()}


def recurrent_model(
    kind: str, hidden: int, attributes: Mapping[str, Any], given: str, fed: bool = False
) -> onnx.ModelProto:
    """A node with inputs x, w, r and those of `given` (of b, h, c, p); `fed`: all of them are inputs."""
    directions = _directions(attributes)
    tensors = {n: a for n, a in _tensors(kind, hidden, directions).items() if n in "wr" + given}
    names = ["x", "w", "r", *(n if n in given else "" for n in "b_hcp")]
    outputs = ["y", "y_h", "y_c"][: 3 if kind == "LSTM" else 2]
    inputs = names[:8] if kind == "LSTM" else names[:6]
    node = helper.make_node(kind, inputs, outputs, hidden_size=hidden, **attributes)
    infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (STEPS, BATCH, FEATURES))]
    if fed:
        infos += [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in tensors.items()]
    results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    kept = [] if fed else [numpy_helper.from_array(a, n) for n, a in tensors.items()]
    graph = helper.make_graph([node], "recurrent", infos, results, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def _inputs(
    proto: onnx.ModelProto, kind: str, hidden: int, attributes: Mapping[str, Any]
) -> dict[str, Array]:
    tensors = _tensors(kind, hidden, _directions(attributes))
    x = np.random.default_rng(1).standard_normal((STEPS, BATCH, FEATURES)).astype(np.float32)
    return {i.name: x if i.name == "x" else tensors[i.name] for i in proto.graph.input}


def _onnxruntime(proto: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _check(proto: onnx.ModelProto, inputs: Mapping[str, Array], folder: Path) -> None:
    graph, wanted = read_model(proto), _onnxruntime(proto, inputs)
    artifact = secateur.compile(read_model(proto), folder / "model.so")
    with secateur.load(artifact.path) as session:
        for found in (run(graph, dict(inputs)), session.run(dict(inputs))):
            for name, array in wanted.items():
                largest = max(1, np.abs(array).max())  # of a state of many, which are added up in any order
                np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5 * largest, err_msg=name)


@pytest.mark.parametrize(
    ("given", "kind", "hidden", "attributes"),
    sampled_rows(
        [(given, *case) for case in CASES for given in GIVEN],
        lambda given, *case: given == GIVEN[CASES.index(case) % 3],
    ),
)
def test_as_onnxruntime(
    kind: str, hidden: int, attributes: dict[str, Any], given: str, tmp_path: Path
) -> None:
    given = given if kind == "LSTM" else given.replace("c", "")
    proto = recurrent_model(kind, hidden, attributes, given)
    _check(proto, _inputs(proto, kind, hidden, attributes), tmp_path)


@pytest.mark.parametrize(("kind", "hidden", "attributes"), [CASES[2], CASES[7], CASES[10]])
def test_weights_that_are_inputs(kind: str, hidden: int, attributes: dict[str, Any], tmp_path: Path) -> None:
    proto = recurrent_model(kind, hidden, attributes, "bh", fed=True)
    _check(proto, _inputs(proto, kind, hidden, attributes), tmp_path)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_peepholes(direction: str, tmp_path: Path) -> None:
    attributes = {"direction": direction}
    proto = recurrent_model("LSTM", 11, attributes, "bhcp")
    _check(proto, _inputs(proto, "LSTM", 11, attributes), tmp_path)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_clip(kind: str, tmp_path: Path) -> None:
    proto = recurrent_model(kind, 11, {"clip": 0.5}, "bh")
    _check(proto, _inputs(proto, kind, 11, {}), tmp_path)


def test_batch_first_is_the_same_transposed() -> None:
    plain = recurrent_model("GRU", 6, {}, "bh")
    first = recurrent_model("GRU", 6, {"layout": 1}, "bh")
    kept = {t.name: t for t in first.graph.initializer}
    kept["h"].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kept["h"]).transpose(1, 0, 2), "h"))
    first.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (BATCH, STEPS, FEATURES))
    )
    x = _inputs(plain, "GRU", 6, {})["x"]
    wanted = run(read_model(plain), {"x": x})
    found = run(read_model(first), {"x": x.transpose(1, 0, 2)})
    np.testing.assert_array_equal(found["y"], wanted["y"].transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(found["y_h"], wanted["y_h"].transpose(1, 0, 2))


def test_a_long_sequence_is_one_operator() -> None:
    proto = recurrent_model("LSTM", 6, {"direction": "bidirectional"}, "b")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 400
    assert len(read_model(proto).operators) < 40


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("LSTM", {"input_forget": 1}, "coupled gates"),
    ("LSTM", {"activations": ["Sigmoid", "Tanh"]}, "3 are needed, the same for each direction"),
    ("RNN", {"activations": ["Affine"]}, "activation 'Affine' is not supported; known: Relu, Tanh"),
    ("GRU", {"direction": "sideways"}, "attribute 'direction' is 'sideways', known: forward"),
    ("RNN", {"direction": "bidirectional", "activations": ["Tanh", "Relu"]}, "the same for each direction"),
]


@pytest.mark.parametrize(("kind", "attributes", "says"), REFUSED)
def test_refused(kind: str, attributes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=f"{kind} node .*{says}"):
        read_model(recurrent_model(kind, 6, attributes, "b"))


def test_sequences_of_different_lengths_are_refused() -> None:
    proto = recurrent_model("RNN", 6, {}, "b")
    proto.graph.node[0].input[4] = "lengths"
    proto.graph.initializer.append(numpy_helper.from_array(np.array([5, 5, 5], np.int32), "lengths"))
    read_model(proto)
    proto.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.array([5, 4, 5], np.int32), "lengths"))
    with pytest.raises(ModelError, match="sequence_lens must be left out or be 5"):
        read_model(proto)


def test_weights_of_another_shape_are_refused() -> None:
    proto = recurrent_model("RNN", 6, {}, "b")
    proto.graph.node[0].attribute[0].i = 5
    with pytest.raises(ModelError, match=r"R has shape 1x6x6, not 1x5x5"):
        read_model(proto)


def _text_reader() -> onnx.ModelProto:
    """A convolution over a strip of text, a bidirectional LSTM along it, a dense layer: 1x1x8x20 -> 20x5."""
    choose = np.random.default_rng(0)

    def weights(*shape: int) -> str:
        return ", ".join(f"{v:.4f}" for v in choose.standard_normal(int(np.prod(shape))) / np.sqrt(shape[-1]))

    text = f"""<ir_version: 8, opset_import: ["": 14]> reader (float[1,1,8,20] x) => (float[20,5] y) <
      float[16,1,8,3] k = {{{weights(16, 24)}}}, float[2,24,16] w = {{{weights(2, 24, 16)}}},
      float[2,24,6] r = {{{weights(2, 24, 6)}}}, float[12,5] d = {{{weights(12, 5)}}},
      int64[3] steps = {{1, 16, 20}}, int64[2] rows = {{20, 12}}
    > {{
      a = Conv <pads = [0, 1, 0, 1]> (x, k)
      b = Relu (a)
      c = Reshape (b, steps)
      e = Transpose <perm = [2, 0, 1]> (c)
      f = LSTM <hidden_size = 6, direction = "bidirectional"> (e, w, r)
      g = Transpose <perm = [0, 2, 1, 3]> (f)
      h = Reshape (g, rows)
      y = MatMul (h, d)
    }}"""
    return onnx.parser.parse_model(text)


def test_a_text_reader_in_int8_keeps_its_recurrence_in_float(tmp_path: Path) -> None:
    proto = _text_reader()
    images = [
        {"x": np.random.default_rng(i).standard_normal((1, 1, 8, 20)).astype(np.float32)} for i in range(8)
    ]
    int8 = secateur.Int8(images)
    artifact = secateur.compile(read_model(proto), tmp_path / "reader.so", quantize=int8)
    (wanted,) = _onnxruntime(proto, images[0]).values()
    with secateur.load(artifact.path) as session:
        kinds = {row["operator"] for row in session.manifest["operators"]}
        found = session.run(images[0])["y"]
    assert "prim.lstm" in kinds
    secateur.quantize(read_model(proto), int8, tmp_path / "int8.onnx")
    written = onnx.load(tmp_path / "int8.onnx")
    assert [n.op_type for n in written.graph.node].count("LSTM") == 1
    (again,) = _onnxruntime(written, images[0]).values()
    assert np.square(again - wanted).mean() < np.square(wanted).mean() / 1000
    assert np.square(found - wanted).mean() < np.square(wanted).mean() / 1000
