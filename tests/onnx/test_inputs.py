"""Shapes that a file leaves open: unknown dimensions, symbols, the free batch, and what the hint says."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from secateur.ir.errors import ModelError, ModelNote, SecateurError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.tools.cli.source import parse_constants, parse_shapes

Shape = list[int | str | None]


def _model(*shapes: Shape) -> onnx.ModelProto:
    """y<i> = Relu(x<i>) for inputs of these shapes."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(f"x{i}", kind, s) for i, s in enumerate(shapes)]
    outputs = [helper.make_tensor_value_info(f"y{i}", kind, None) for i, _ in enumerate(shapes)]
    nodes = [helper.make_node("Relu", [f"x{i}"], [f"y{i}"]) for i, _ in enumerate(shapes)]
    graph = helper.make_graph(nodes, "main", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _shapes(proto: onnx.ModelProto, **words: object) -> list[tuple[int, ...]]:
    return [v.type.shape for v in read_model(proto, **words).inputs]  # type: ignore[arg-type]


@pytest.mark.parametrize("dim", [-1, -7, "?", "", "-1", "None", "N", "batch_size", None])
def test_a_free_batch_is_one_with_a_note(dim: int | str | None) -> None:
    with pytest.warns(ModelNote, match=r"^input 'x0' \(\S+x3x4x4\): the batch is free and becomes 1;"):
        assert _shapes(_model([dim, 3, 4, 4])) == [(1, 3, 4, 4)]


@pytest.mark.parametrize("dim", [-1, "?", "N"])
def test_the_batch_as_told(dim: int | str) -> None:
    assert _shapes(_model([dim, 3], [dim, 5]), batch=4) == [(4, 3), (4, 5)]


def test_a_batch_that_one_shape_gives_is_everyones() -> None:
    assert _shapes(_model([-1, 3], [None, 5]), shapes={"x0": (6, 3)}) == [(6, 3), (6, 5)]


def test_a_batch_settles_its_symbol_everywhere_and_nothing_else() -> None:
    assert _shapes(_model(["N", 3], ["N"]), batch=2) == [(2, 3), (2,)]
    with pytest.raises(ModelError, match=r"input 'x0' \(2xN\); settle"):
        _shapes(_model([2, "N"]), batch=2)


def test_a_symbol_that_is_also_a_length_is_no_batch() -> None:
    with pytest.raises(ModelError, match=r"input 'x0' \(NxN\)"):
        _shapes(_model(["N", "N"]))


def test_the_first_inputs_batch_may_stand_second_in_a_state() -> None:
    proto = _model(["batch", 576], [2, "batch", 128])
    assert _shapes(proto, batch=3) == [(3, 576), (2, 3, 128)]
    with pytest.warns(ModelNote, match="'x0'"):
        assert _shapes(proto) == [(1, 576), (2, 1, 128)]


def test_a_list_has_no_batch() -> None:
    with pytest.raises(ModelError, match=r"input 'x0' \(\?\); settle it with --shape x0=D0"):
        _shapes(_model([-1]))


@pytest.mark.parametrize("dim", [-1, "?", "", None])
def test_each_nameless_dimension_is_its_own(dim: int | str | None) -> None:
    assert _shapes(_model([1, 3, dim, dim]), shapes={"x0": (1, 3, 5, 7)}) == [(1, 3, 5, 7)]


def test_a_named_dimension_has_one_extent() -> None:
    with pytest.raises(ModelError, match="dimension 'S' is given as 5 and as 7"):
        _shapes(_model([1, 3, "S", "S"]), shapes={"x0": (1, 3, 5, 7)})


OPEN: list[tuple[list[Shape], str]] = [
    ([[1, 3, -1, -1]], "--shape x0=1x3xHxW, for example --shape x0=1x3x224x224"),
    ([[-1, 3, -1, -1]], "--shape x0=1x3xHxW, for example --shape x0=1x3x224x224"),
    ([["N", "?", "height", "width"]], "--shape x0=1xCxheightxwidth, for example --shape x0=1x3x224x224"),
    ([["?", 1, "?"]], "--shape x0=1x1xL, for example --shape x0=1x1x224"),
    ([["N", "2*T + 1"]], "--shape x0=1xL, for example --shape x0=1x224"),
    ([[2, None, 5, 6, None]], "--shape x0=2xCx5x6xW, for example --shape x0=2x3x5x6x224"),
    ([["N", 3], [None]], "--shape x1=D0, for example --shape x1=224"),
    ([[-1, "S"], ["S", 4]], "--shape x0=1xS --shape x1=Sx4, for example --shape x0=1x224 --shape x1=224x4"),
]


@pytest.mark.parametrize(("shapes", "hint"), OPEN, ids=[h for _, h in OPEN])
def test_the_hint_settles_what_is_open(shapes: list[Shape], hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        _shapes(_model(*shapes))
    said = str(caught.value)
    assert said.endswith(f"; settle it with {hint}")
    assert "-1" not in said
    example = parse_shapes(re.findall(r"--shape (\S+)", said.partition("for example ")[2]))
    _shapes(_model(*shapes), shapes=example, batch=1 if shapes[0][0] != 2 else 2)


def test_the_hint_for_an_unknown_rank() -> None:
    proto = _model([1])
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match=r"\(unknown\); settle it with --shape x0=1xCxHxW, for example"):
        read_model(proto)
    assert read_model(proto, {"x0": (2,)}).inputs[0].type.shape == (2,)


BATCHES = [
    ([4, 3], {"batch": 2}, "input 'x0' has shape 4x3; a batch of 2 does not fit"),
    (["N", 3], {"batch": 2, "shapes": {"x0": (3, 3)}}, "the batch is given as 2 and by a shape as 3"),
    (["N", 3], {"batch": 0}, "a batch of 0: at least 1 is needed"),
]


@pytest.mark.parametrize(("shape", "words", "message"), BATCHES)
def test_batches_that_do_not_fit(shape: Shape, words: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        _shapes(_model(shape), **words)
    assert str(caught.value) == message


def test_a_batch_that_is_the_models_own_is_no_error() -> None:
    assert _shapes(_model([4, 3]), batch=4) == [(4, 3)]


# Inputs known beforehand -------------------------------------------------------------------------------


def _known(dims: Shape, dtype: int, value: Any, **words: Any) -> Any:
    """The constant that stands for an input `k` of these dimensions and type."""
    helper = onnx.helper
    values = [helper.make_tensor_value_info(name, dtype, dims) for name in ("k", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["k"], ["y"])], "main", values[:1], values[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return run(read_model(proto, constants={"k": value}, **words), {})["y"]


FITTING: list[tuple[Shape, int, Any, Any]] = [
    ([], TensorProto.INT64, 16000, np.array(16000, np.int64)),
    ([], TensorProto.INT64, 16000.0, np.array(16000, np.int64)),
    ([], TensorProto.INT64, 2**63 - 1, np.array(2**63 - 1, np.int64)),
    ([1], TensorProto.FLOAT, 2, np.array([2], np.float32)),
    (["N", "N"], TensorProto.FLOAT, 0.1, np.array([[0.1]], np.float32)),
    (["N"], TensorProto.UINT8, [1, 255], np.array([1, 255], np.uint8)),
    (["N", 2], TensorProto.INT8, [1, -2, 3, -128], np.array([[1, -2], [3, -128]], np.int8)),
    ([2, 2], TensorProto.DOUBLE, [[1, 2], [3, 4.5]], np.array([[1, 2], [3, 4.5]])),
    ([2], TensorProto.BOOL, [True, 0], np.array([True, False])),
    ([2], TensorProto.FLOAT16, [math.inf, 65519], np.array([math.inf, 65504], np.float16)),
    ([1, 2], TensorProto.FLOAT, np.array([[1, 2]], np.float32), np.array([[1, 2]], np.float32)),
]


@pytest.mark.parametrize(("dims", "dtype", "value", "wanted"), FITTING)
def test_a_constant_has_the_inputs_type_and_shape(dims: Shape, dtype: int, value: Any, wanted: Any) -> None:
    got = _known(dims, dtype, value)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)
    assert got.shape == wanted.shape


def test_a_shape_given_settles_that_of_a_constant() -> None:
    assert _known(["N", "M"], TensorProto.FLOAT, [1, 2, 3, 4], shapes={"k": (2, 2)}).shape == (2, 2)


UNFIT: list[tuple[Shape, int, Any, str]] = [
    ([], TensorProto.INT64, 0.5, "input 'k' is i64; 0.5 is no value of it"),
    ([], TensorProto.INT64, 2**63, "input 'k' is i64; 9223372036854775808 is no value of it"),
    ([], TensorProto.INT32, math.inf, "input 'k' is i32; inf is no value of it"),
    ([2], TensorProto.UINT8, [1, -1], "input 'k' is u8; -1 is no value of it"),
    ([], TensorProto.BOOL, 2, "input 'k' is bool; 2 is no value of it"),
    ([], TensorProto.FLOAT, 1e39, "input 'k' is f32; 1e+39 is no value of it"),
    ([], TensorProto.DOUBLE, 10**400, "is no value of it"),
    ([], TensorProto.FLOAT, "1", "input 'k' is f32; '1' is no value of it"),
    ([2], TensorProto.FLOAT, [[1], [1, 2]], "input 'k' is f32; [1] is no value of it"),
    ([2], TensorProto.FLOAT, 1, "input 'k' has shape 2; 1 value does not fit"),
    (["N", 2], TensorProto.FLOAT, [1, 2, 3], "input 'k' has shape Nx2; 3 values do not fit"),
    (["N", "M"], TensorProto.FLOAT, [1, 2], "input 'k' has shape NxM; 2 values do not fit"),
    ([4], TensorProto.FLOAT, [[1, 2], [3, 4]], "input 'k' has shape 4; a constant of 2x2 does not fit"),
    ([2], TensorProto.FLOAT, np.zeros(2), "input 'k' is f32, the constant given is float64"),
]


@pytest.mark.parametrize(("dims", "dtype", "value", "said"), UNFIT)
def test_a_constant_that_does_not_fit(dims: Shape, dtype: int, value: Any, said: str) -> None:
    with pytest.raises(ModelError, match=re.escape(said)):
        _known(dims, dtype, value)


def test_a_constant_that_is_no_input() -> None:
    with pytest.raises(ModelError, match="the model has no input sr; inputs: x0"):
        read_model(_model([1, 3]), constants={"sr": 1})


def test_constants_in_words() -> None:
    assert parse_constants(["sr=16000", "a=b=0.5, -2", "t=true", "i=inf"]) == {
        "sr": 16000, "a=b": [0.5, -2], "t": True, "i": math.inf,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sr"], "--constant sr: expected a name and a value, such as sr=16000"),
        (["=1"], "--constant =1: expected a name and a value"),
        (["sr="], "--constant sr=: '' is not a number, true or false"),
        (["sr=1,x"], "--constant sr=1,x: 'x' is not a number, true or false"),
        (["sr=1", "sr=2"], "--constant sr is given twice"),
    ],
)
def test_words_that_are_no_constant(words: list[str], said: str) -> None:
    with pytest.raises(SecateurError, match=re.escape(said)):
        parse_constants(words)
