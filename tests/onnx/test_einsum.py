"""Einsum as matrix products: against NumPy, over equations that are generated, and the ones people write."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.errors import ModelError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from tests.onnx.models import Array, operators

EXTENTS = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 1}


def _model(equation: str, shapes: list[tuple[int, ...]]) -> onnx.ModelProto:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    names = [f"x{i}" for i in range(len(shapes))]
    inputs = [helper.make_tensor_value_info(n, kind, s) for n, s in zip(names, shapes, strict=True)]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    graph = helper.make_graph([node], "main", inputs, [helper.make_tensor_value_info("y", kind, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _answer(equation: str, arrays: list[Array]) -> Array:
    graph = read_model(_model(equation, [a.shape for a in arrays]))
    return run(graph, {f"x{i}": a for i, a in enumerate(arrays)})["y"]


def _check(equation: str, shapes: list[tuple[int, ...]]) -> None:
    choose = np.random.default_rng(0)
    arrays = [choose.standard_normal(s).astype(np.float32) for s in shapes]
    wanted = np.einsum(equation, *[a.astype(np.float64) for a in arrays])
    found = _answer(equation, arrays)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@st.composite
def _equations(draw: Any) -> tuple[str, list[tuple[int, ...]]]:
    labels = [draw(st.text("abcde", max_size=4)) for _ in range(draw(st.integers(1, 3)))]
    present = sorted(set("".join(labels)))
    result = draw(st.permutations(present))[: draw(st.integers(0, len(present)))]
    equation = ",".join(labels) + (f"->{''.join(result)}" if draw(st.booleans()) else "")
    return equation, [tuple(EXTENTS[c] for c in text) for text in labels]


@settings(max_examples=300, deadline=None)
@given(_equations())
def test_generated_equations(case: tuple[str, list[tuple[int, ...]]]) -> None:
    _check(*case)


WRITTEN = [
    ("ij,jk->ik", [(3, 4), (4, 5)], ["matmul"]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)], ["matmul"]),
    ("bhwij,bhwjk->bhwik", [(2, 2, 2, 3, 4), (2, 2, 2, 4, 5)], ["matmul"]),
    ("bhid,bhjd->bhij", [(2, 2, 3, 4), (2, 2, 5, 4)], ["transpose", "matmul"]),
    ("bij,jk->bik", [(2, 3, 4), (4, 5)], ["reshape", "matmul", "reshape"]),
    ("nctkv,kvw->nctw", [(1, 3, 4, 2, 5), (2, 5, 6)], ["reshape", "reshape", "matmul", "reshape"]),
    ("nchw->nhwc", [(1, 3, 4, 5)], ["transpose"]),
    ("nchw->nc", [(1, 3, 4, 5)], ["reduce_sum"]),
    ("nchw,c->nchw", [(1, 3, 4, 5), (3,)], ["reshape", "mul"]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 6)], None),
    ("...ij,jk", [(2, 3, 4), (4, 5)], None),
    (" i j , j k -> i k ", [(3, 4), (4, 5)], ["matmul"]),
    ("i,i->", [(4,), (4,)], None),
    ("ii->i", [(4, 4)], None),
    ("iji->j", [(4, 3, 4)], None),
]


@pytest.mark.parametrize(("equation", "shapes", "nodes"), WRITTEN, ids=[e for e, *_ in WRITTEN])
def test_equations_that_people_write(
    equation: str, shapes: list[tuple[int, ...]], nodes: list[str] | None
) -> None:
    _check(equation, shapes)
    if nodes is not None:
        assert operators(read_model(_model(equation, shapes))) == [f"nn.{name}" for name in nodes]


REFUSED = [
    ("ij,jk->ik", [(3, 4)], "has 2 operands, the node has 1"),
    ("ij->ik", [(3, 4)], "the result has 'k', no operand has"),
    ("ij->ii", [(3, 4)], "has a label twice"),
    ("ijk->i", [(3, 4)], "labels 'ijk' do not fit shape"),
    ("i->i", [(3, 4)], "labels 'i' do not fit shape"),
    ("i1->i", [(3, 4)], "labels 'i1' do not fit shape"),
    ("......->i", [(3, 4)], "do not fit shape"),
    ("ij,jk->ik", [(3, 4), (5, 6)], "label 'j' is 4 and 5"),
    ("ii->i", [(3, 4)], "a label stands for extents 3 and 4"),
    ("ij->i->j", [(3, 4)], "labels 'i->j' are not letters"),
]


@pytest.mark.parametrize(("equation", "shapes", "message"), REFUSED)
def test_equations_that_are_refused(equation: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_model(_model(equation, shapes))
