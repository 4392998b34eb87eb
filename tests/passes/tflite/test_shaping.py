"""Operators in the form that TFLite has them: the same answers, and nothing left of what it has not."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.tflite.shaping import shape_for_tflite

from ...secateur.small_networks import Shapes, after_conv, network

TOKENS = "s = Constant <value_ints = [1, 4, 72]> () q = Reshape (c, s) t = Transpose <perm = [0, 2, 1]> (q) "
CASES: dict[str, tuple[str, Shapes, set[str]]] = {
    "mean of channels": ("y = ReduceMean <axes = [1]> (c)", {}, set()),
    "mean of a width": ("y = ReduceMean <axes = [3], keepdims = 0> (c)", {}, set()),
    "mean of all but the height": ("y = ReduceMean <axes = [1, 3]> (c)", {}, set()),
    "mean of tokens": (f"{TOKENS} y = ReduceMean <axes = [2]> (t)", {}, set()),
    "sum": ("a = Constant <value_ints = [1, 2]> () y = ReduceSum (c, a)", {}, {"nn.reduce_sum"}),
    "sum of all": ("a = Constant <value_ints = [1, 2, 3]> () y = ReduceSum (c, a)", {}, {"nn.reduce_sum"}),
    "rows": (f"{TOKENS} m = MatMul (t, w1) y = Add (m, b1)", {"w1": (4, 6), "b1": (6,)}, set()),
    "quotient": ("s = Sigmoid (c) y = Div (c, s)", {}, set()),
    "quotient from below": ("s = Sigmoid (c) y = Div (s, c)", {}, set()),
    "slope": ("y = LeakyRelu <alpha = 0.3> (c)", {}, set()),
    "scaled": (
        "r = Relu (c) m = Mul (r, w1) y = Sub (b1, m)",
        {"w1": (4, 1, 1), "b1": (4, 1, 1)},
        {"nn.map"},
    ),
    "channels last": (
        "l = Transpose <perm = [0, 2, 3, 1]> (c) m = Mul (l, w1) s = Sigmoid (m) a = Add (s, l) "
        "t = Transpose <perm = [0, 3, 1, 2]> (a) y = Neg (t)",
        {"w1": (4,)},
        {"nn.transpose"},
    ),
    "groups": ("y = ConvTranspose <group = 2, strides = [2, 1]> (c, w1)", {"w1": (4, 3, 2, 3)}, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_the_answer_stays(name: str) -> None:
    nodes, weights, gone = CASES[name]
    graph = Fuse().run(Canonicalize().run(after_conv(nodes, weights)))
    shaped = graph.clone()
    shape_for_tflite(shaped)
    assert not {op.name for op in shaped.operators} & gone
    assert all(op["groups"] == 1 for op in shaped.operators if op.name == "nn.conv_transpose")
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=graph.inputs[0].type.shape).astype(np.float32)
        wanted, found = run(graph, {"x": x})["y"], run(shaped, {"x": x})["y"]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_maps_come_behind_the_transpose_that_moves_channels_second() -> None:
    """Behind it their constants are of channels; one that others read too stays."""
    before = "m = Mul (x, w1) s = Sub (m, w2) t = Transpose <perm = [0, 3, 1, 2]> (s) "
    weights = {"w1": (1, 1, 5), "w2": (5,)}
    cases = {"y = Relu (t)": True, "f = Flatten (s) g = Flatten (t) y = Concat <axis = 1> (f, g)": False}
    for rest, moved in cases.items():
        made = network(before + rest, weights, "float[1,6,7,5] x")
        graph = Fuse().run(Canonicalize().run(read_model(made)))
        shaped = graph.clone()
        shape_for_tflite(shaped)
        transposed = next(op for op in shaped.operators if op.name == "nn.transpose")
        assert (transposed.operands[0] is shaped.inputs[0]) == moved
        x = np.random.default_rng(0).normal(size=(1, 6, 7, 5)).astype(np.float32)
        wanted, found = run(graph, {"x": x})["y"], run(shaped, {"x": x})["y"]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_doing_it_again_changes_nothing() -> None:
    nodes, weights, _ = CASES["mean of channels"]
    graph = Fuse().run(Canonicalize().run(after_conv(nodes, weights)))
    shape_for_tflite(graph)
    names = [op.name for op in graph.operators]
    shape_for_tflite(graph)
    assert [op.name for op in graph.operators] == names
