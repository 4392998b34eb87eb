"""Rules that a file breaks before anything is computed: names, types, versions; sparse initializers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from secateur.ir.errors import ModelError, ModelNote
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from tests.onnx.models import Array, model

# Names, types and versions ------------------------------------------------------------------------------


def _twice(part: str) -> onnx.ModelProto:
    """A model one of whose parts stands in it twice."""
    proto = model("<float[1] w = {2.0}> { y = Mul (x, w) }", head="float[1] x")
    parts = getattr(proto.graph, part)
    parts.append(parts[0])
    return proto


NAMED_TWICE = [
    ("initializer", "two initializers have the name 'w'"),
    ("input", "the model needs inputs with distinct names"),
    ("output", "the model needs outputs with distinct names"),
    ("node", "'y' is defined twice"),
]


@pytest.mark.parametrize(("part", "message"), NAMED_TWICE)
def test_names_that_are_defined_twice(part: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_model(_twice(part))


def test_an_attribute_given_twice() -> None:
    proto = model("y = Softmax <axis = 1> (x)")
    proto.graph.node[0].attribute.append(proto.graph.node[0].attribute[0])
    with pytest.raises(ModelError, match=r"^Softmax node 'Softmax#0': attribute 'axis' is given twice$"):
        read_model(proto)


def test_parts_without_a_name() -> None:
    proto = model("<float[1] w = {2.0}> { y = Softmax <axis = 1> (x) }")
    proto.graph.initializer[0].name = ""
    with pytest.raises(ModelError, match="an initializer has no name"):
        read_model(proto)
    proto = model("y = Softmax <axis = 1> (x)")
    proto.graph.node[0].attribute[0].name = ""
    with pytest.raises(ModelError, match="an attribute has no name"):
        read_model(proto)


def test_a_node_without_an_operator() -> None:
    proto = model("y = Relu (x)")
    proto.graph.node[0].op_type = ""
    with pytest.raises(ModelError, match=r"^a node '#0': has no op_type, so that nobody knows what it"):
        read_model(proto)


def test_a_node_without_outputs() -> None:
    proto = model("y = Relu (x)")
    proto.graph.node.add(op_type="Abs", input=["x"])
    with pytest.raises(ModelError, match=r"^Abs node 'Abs#1': has no outputs$"):
        read_model(proto)


@pytest.mark.parametrize("part", ["output", "value_info"])
def test_a_declared_type_that_is_not_the_computed_one(part: str) -> None:
    proto = model("a = Cast <to = 7> (x) y = Abs (a)")
    name = {"output": "y", "value_info": "a"}[part]
    info = onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    del getattr(proto.graph, part)[:]
    getattr(proto.graph, part).append(info)
    with pytest.raises(ModelError, match=f"'{name}' is i64, the model declares it as f32$"):
        read_model(proto)


def test_a_declared_type_that_is_not_that_of_an_initializer() -> None:
    proto = model("<float[1] w = {2.0}> { y = Mul (x, w) }", head="float[1] x, int64[1] w")
    with pytest.raises(ModelError, match=r"'w' is f32, the model declares it as i64$"):
        read_model(proto)


def test_a_declared_type_that_is_not_that_of_a_loops_input() -> None:
    body = "b (int64 i, bool go, double[2] v) => (go_on, w) { go_on = Identity (go) w = Neg (v) }"
    proto = model(f"<int64 n = {{2}}> {{ y = Loop (n, , x) <body = {body}> }}", head="float[2] x")
    with pytest.raises(ModelError, match=r"^Loop node 'Loop#0': 'v' is f32, the model declares it as f64$"):
        read_model(proto)


@pytest.mark.parametrize("declared", [[7, 7], [1, 3, 8, 9], []])
def test_a_stale_shape_of_an_output_is_noted(declared: list[int]) -> None:
    proto = model("y = Relu (x)")
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, declared))
    with pytest.warns(ModelNote, match=r"^output 'y' is 1x3x8x8, the model declares .*; the shape is stale$"):
        assert read_model(proto).outputs[0].type.shape == (1, 3, 8, 8)


@pytest.mark.parametrize("declared", [None, [1, 3, 8, 8], ["N", -1, "?", None]])
def test_a_shape_of_an_output_that_fits(declared: list[int | str | None] | None) -> None:
    proto = model("y = Relu (x)")
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, declared))
    assert read_model(proto).outputs[0].type.shape == (
        1,
        3,
        8,
        8,
    )  # no note: it would raise


def test_versions_that_contradict_each_other() -> None:
    proto = model("y = Relu (x)")
    proto.opset_import.add(domain="ai.onnx", version=13)
    with pytest.raises(ModelError, match="declares opsets 17 and 13 of one domain"):
        read_model(proto)
    proto = model("y = Relu (x)")
    proto.ir_version = onnx.IR_VERSION + 1
    with pytest.raises(ModelError, match=f"IR version {onnx.IR_VERSION + 1}; known: up to {onnx.IR_VERSION}"):
        read_model(proto)


def test_long_names_are_shown_short() -> None:
    proto = model("y = Softmax <axis = 9> (x)")
    proto.graph.node[0].name = "n" * 100_000
    with pytest.raises(ModelError, match=r"n{60}\.\.\.n{30} \(100000 characters\)") as caught:
        read_model(proto)
    assert len(str(caught.value)) < 300


# Sparse tensors ------------------------------------------------------------------------------------------


def _sparse(indices: Array, values: Array, shape: tuple[int, ...]) -> onnx.ModelProto:
    """y = x + w, where w is sparse."""
    proto = model("y = Add (x, w)", head="float[2,3] x")
    made = onnx.helper.make_sparse_tensor(
        onnx.numpy_helper.from_array(values, "w"), onnx.numpy_helper.from_array(indices, "i"), list(shape)
    )
    proto.graph.sparse_initializer.append(made)
    return proto


FILLED = np.array([5, 7], np.float32)


@pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]])
def test_sparse_initializers_become_dense(indices: list[Any]) -> None:
    graph = read_model(_sparse(np.array(indices), FILLED, (2, 3)))
    found = run(graph, {"x": np.zeros((2, 3), np.float32)})["y"]
    assert found.tolist() == [[0, 5, 0], [0, 0, 7]]


SPARSE: list[tuple[list[Any], tuple[int, ...], str]] = [
    ([5, 1], (2, 3), "indices do not ascend, or name one element twice"),
    ([1, 1], (2, 3), "indices do not ascend, or name one element twice"),
    ([1, 6], (2, 3), r"an index is outside shape 2x3"),
    ([[0, 1], [0, 3]], (2, 3), r"an index is outside shape 2x3"),
    ([[0], [1]], (2, 3), r"indices 2x1 do not fit shape 2x3"),
    ([0, 1, 2], (2, 3), r"values of shape 2 and int64 indices of shape 3 do not fit"),
    ([1, 5], (1 << 14, 1 << 14), "bytes when dense, the limit is 268435456"),
]


@pytest.mark.parametrize(("indices", "shape", "message"), SPARSE)
def test_sparse_initializers_that_are_refused(
    indices: list[Any], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ModelError, match=f"sparse tensor 'w': .*{message}"):
        read_model(_sparse(np.array(indices), FILLED, shape))
