"""Operators of ONNX Runtime's own domain, against ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from secateur.ir.errors import ModelError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.fuse import Fuse
from tests.onnx.models import operators

Array = NDArray[Any]
_RANDOM = np.random.default_rng(0)
B, S, L, N, H = 2, 7, 5, 3, 4
D = N * H


def reals(*shape: int) -> Array:
    return _RANDOM.standard_normal(shape).astype(np.float32)


def whole(low: int, high: int, *shape: int, dtype: str = "uint8") -> Array:
    return _RANDOM.integers(low, high, shape).astype(dtype)


def scalars(*given: tuple[float, str]) -> list[Array]:
    return [np.array(v, dtype) for v, dtype in given]


SIDES = [reals(B, S, D), reals(B, L, D), reals(B, L, D)]
KEPT = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 1]], np.int32)
PROJECTED = [reals(B, L, 9), reals(9, 3 * D), reals(3 * D)]
LAYER = [reals(B, L, D), reals(1, L, D), reals(D), reals(D), reals(D)]
FLAGS = ("transA", "transB", "transBatchA", "transBatchB")
TURNED = {
    (0, 0, 1, 0): ((4, 2, 3, 5), (2, 3, 5, 6)),
    (1, 0, 1, 1): ((5, 2, 3, 4), (5, 2, 3, 6)),
    (0, 1, 0, 1): ((2, 3, 4, 5), (6, 2, 3, 5)),
}
X8 = [whole(0, 256, 1, 9, 7, 6), *scalars((0.02, "float32"), (120, "uint8"))]
Y8 = scalars((0.1, "float32"), (128, "uint8"))
W8 = [whole(-100, 100, 8, 3, 3, 3, dtype="int8"), *scalars((0.01, "float32"), (0, "int8"))]
CASES: dict[str, tuple[str, Sequence[Array | None], dict[str, Any]]] = {
    "attention": ("MultiHeadAttention", [*SIDES], {"num_heads": N}),
    "attention with a bias, scale, wide values": (
        "MultiHeadAttention", [*SIDES[:2], reals(B, L, 18), reals(2 * D + 18)],
        {"num_heads": N, "scale": 0.3},
    ),
    "attention by heads": (
        "MultiHeadAttention", [SIDES[0], reals(B, N, L, H), reals(B, N, L, H), reals(3 * D)],
        {"num_heads": N},
    ),
    "attention masked": ("MultiHeadAttention", [*SIDES, None, KEPT, reals(1, N, S, L)], {"num_heads": N}),
    "attention masked by query": (
        "MultiHeadAttention", [*SIDES, None, whole(0, 2, B, S, L, dtype="int32")], {"num_heads": N},
    ),
    "attention forwards": ("MultiHeadAttention", [*SIDES], {"num_heads": N, "unidirectional": 1}),
    "projected": ("Attention", [*PROJECTED, KEPT], {"num_heads": N}),
    "projected to other widths": (
        "Attention", [PROJECTED[0], reals(9, 2 * D + 18)], {"num_heads": N, "qkv_hidden_sizes": [D, D, 18]},
    ),
    "projected with scores added": (
        "Attention", [*PROJECTED, None, None, reals(B, N, L, L)], {"num_heads": N, "unidirectional": 1},
    ),
    "projected in bytes": (
        "QAttention",
        [whole(0, 256, B, L, 9), whole(-100, 100, 9, 3 * D, dtype="int8"), PROJECTED[2],
         *scalars((0.02, "float32"), (0.01, "float32")), None, *scalars((120, "uint8"), (0, "int8"))],
        {"num_heads": N},
    ),
    "sum normalized": ("SkipLayerNormalization", LAYER[:4], {"epsilon": 1e-5}),
    "sum with a bias normalized": ("SkipLayerNormalization", [*LAYER[:3], None, LAYER[4]], {"epsilon": 1e-5}),
    "sum normalized by squares": (
        "SkipSimplifiedLayerNormalization", [LAYER[0], LAYER[0], *LAYER[2:4]], {"epsilon": 1e-5},
    ),
    "normalized by squares": ("SimplifiedLayerNormalization", [LAYER[0], LAYER[2]], {"epsilon": 1e-5}),
    "normalized in an old opset": ("LayerNormalization", [LAYER[0], *LAYER[2:4]], {"epsilon": 1e-5}),
    **{
        f"product turned {flags}": (
            "FusedMatMul", [reals(*a), reals(*b)], dict(zip(FLAGS, flags, strict=True)) | {"alpha": 0.5}
        )
        for flags, (a, b) in TURNED.items()
    },
    "product of 4 bits": (
        "MatMulNBits", [reals(2, 3, 40), whole(0, 256, 5, 3, 8), reals(5, 3), whole(0, 256, 5, 2)],
        {"K": 40, "N": 5, "bits": 4, "block_size": 16},
    ),
    "product of 8 bits": (
        "MatMulNBits", [reals(2, 40), whole(0, 256, 5, 3, 16), reals(15), None, None, reals(5)],
        {"K": 40, "N": 5, "bits": 8, "block_size": 16},
    ),
    "product of 2 bits from real zeros": (
        "MatMulNBits", [reals(2, 40), whole(0, 256, 5, 3, 4), reals(15), reals(15)],
        {"K": 40, "N": 5, "bits": 2, "block_size": 16},
    ),
    "pool of last channels": (
        "NhwcMaxPool", X8[:1], {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]},
    ),
    "convolution of last channels": (
        "QLinearConv", [*X8, *W8, *Y8, whole(-99, 99, 8, dtype="int32")],
        {"channels_last": 1, "group": 2, "pads": [1, 1, 1, 1]},
    ),
    "mean of last channels": ("QLinearGlobalAveragePool", [*X8, *Y8], {"channels_last": 1}),
    "grid": (
        "GridSample", [reals(1, 3, 5, 6), _RANDOM.uniform(-1, 1, (1, 4, 4, 2)).astype(np.float32)],
        {"mode": "bilinear", "padding_mode": "border", "align_corners": 1},
    ),
}  # fmt: skip
IN_ONNX = ("SimplifiedLayerNormalization", "LayerNormalization")


def model_of(
    operator: str, operands: Sequence[Array | None], attributes: dict[str, Any]
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The operator; inputs are its operand 0 and reals of more than two axes."""
    names = ["" if a is None else f"i{i}" for i, a in enumerate(operands)]
    given = {n: a for n, a in zip(names, operands, strict=True) if a is not None}
    fed = {n: a for n, a in given.items() if n == "i0" or (a.ndim > 2 and a.dtype == np.float32)}
    node = helper.make_node(
        operator, names, ["y"], domain="" if operator in IN_ONNX else "com.microsoft", **attributes
    )
    graph = helper.make_graph(
        [node],
        "main",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in fed.items()
        ],
        [helper.make_value_info("y", onnx.TypeProto())],
        [numpy_helper.from_array(a, n) for n, a in given.items() if n not in fed],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), fed


def by_onnxruntime(proto: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], inputs)[0])


@pytest.mark.parametrize("name", CASES)
def test_as_onnxruntime(name: str) -> None:
    proto, inputs = model_of(*CASES[name])
    wanted, found = by_onnxruntime(proto, inputs), run(read_model(proto), inputs)["y"]
    assert found.dtype == wanted.dtype
    if wanted.dtype == np.uint8:
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("packed", [3, 2])
def test_packed_operands_are_taken_apart(packed: int) -> None:
    """Query, key and value as one operand, or key and value."""
    sides = [reals(B, L, D) for _ in range(3)]
    together = np.stack([a.reshape(B, L, N, H) for a in sides[-packed:]], axis=3)
    apart, inputs = model_of("MultiHeadAttention", [*sides], {"num_heads": N})
    wanted = run(read_model(apart), inputs)["y"]
    joined, inputs = model_of("MultiHeadAttention", [*sides[:-packed], together], {"num_heads": N})
    np.testing.assert_allclose(run(read_model(joined), inputs)["y"], wanted, rtol=1e-6, atol=1e-6)


def test_sums_before_a_normalization_are_outputs() -> None:
    proto, inputs = model_of("SkipLayerNormalization", LAYER, {"epsilon": 1e-5})
    proto.graph.node[0].output[:] = ["", "", "", "y"]
    np.testing.assert_allclose(run(read_model(proto), inputs)["y"], LAYER[0] + LAYER[1] + LAYER[4], rtol=1e-6)


def test_convolutions_of_last_channels_are_integers() -> None:
    proto, _ = model_of(*CASES["convolution of last channels"])
    found = operators(Fuse().run(Canonicalize().run(read_model(proto))))
    assert found == ["q.annotate", "nn.transpose", "q.linear_conv", "nn.transpose"]


REFUSED = [
    ("MultiHeadAttention", [*SIDES, None, None, None, reals(B, N, L, H)], {"num_heads": N},
     "a past (input 6)"),
    ("MultiHeadAttention", [*SIDES], {"num_heads": 5}, "2x7x12 is not 5 heads"),
    ("MultiHeadAttention", [*SIDES], {"num_heads": 0}, "attribute 'num_heads' is 0"),
    ("MultiHeadAttention", [SIDES[0]], {"num_heads": N}, "2x7x12 is not 3 packed"),
    ("MultiHeadAttention", [*SIDES, reals(2 * D)], {"num_heads": N}, "slice"),
    ("MultiHeadAttention", [*SIDES, None, KEPT[0]], {"num_heads": N}, "a mask (input 4) of shape 5"),
    ("Attention", PROJECTED, {"num_heads": N, "do_rotary": 1}, "rotary embedding"),
    ("Attention", PROJECTED, {"num_heads": N, "qkv_hidden_sizes": [D, D]}, "not for three parts"),
    ("MatMulNBits", [reals(2, 40), whole(0, 256, 5, 3, 7), reals(15)],
     {"K": 40, "N": 5, "bits": 4, "block_size": 16}, "weights 5x3x7"),
    ("MatMulNBits", [reals(2, 40), whole(0, 256, 5, 3, 8), reals(15)],
     {"K": 40, "N": 5, "bits": 3, "block_size": 16}, "3 bits"),
    ("NhwcMaxPool", [whole(0, 256, 9, 7)], {"kernel_shape": [3, 2]}, "no channels behind spatial axes"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "operands", "attributes", "message"), REFUSED)
def test_what_is_refused(
    operator: str, operands: Sequence[Array | None], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        read_model(model_of(operator, operands, attributes)[0])
