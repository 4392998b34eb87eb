"""Scales and zero points that are computed: what they stand for, interpreted and compiled.

The peers are ONNX's reference evaluator, whose sums of products are whole numbers, and ONNX Runtime on
weights of 7 bits (see test_quantized.py). In a whole network two roundings of what lies between the
products, a sigmoid say, can end on two sides of the middle between two steps: there a step is allowed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime import quantization as ortq

import secateur
from secateur.ir.errors import ModelError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from tests.onnx.models import Array
from tests.onnx.test_quantized import bytes_of, session

Arrays = dict[str, Array]


def model(body: str, head: str, results: str, constants: Arrays | None = None) -> onnx.ModelProto:
    opsets = '["": 21, "com.microsoft": 1]'
    found = onnx.parser.parse_model(
        f"<ir_version: 10, opset_import: {opsets}> main ({head}) => ({results}) {{ {body} }}"
    )
    given = (constants or {}).items()
    found.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in given)
    return found


def interpreted(proto: onnx.ModelProto, inputs: Arrays) -> list[Array]:
    return list(run(read_model(proto), inputs).values())


def compiled(proto: onnx.ModelProto, inputs: Arrays, folder: Path) -> list[Array]:
    artifact = secateur.compile(read_model(proto), folder / "model.so")
    with secateur.load(artifact.path) as loaded:
        return list(loaded.run(inputs).values())


def by_reference(proto: onnx.ModelProto, inputs: Arrays) -> list[Array]:
    found: Any = ReferenceEvaluator(proto).run(None, inputs)
    return [np.asarray(array) for array in found]


def reals(shape: tuple[int, ...], seed: int = 0, spread: float = 1.0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * spread).astype(np.float32)


def same(got: list[Array], wanted: list[Array]) -> None:
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


# Single operators ------------------------------------------------------------------------------------

SPREADS: Arrays = {
    "both signs": reals((3, 50)),
    "positive": np.abs(reals((3, 50))) + 1,
    "negative": -np.abs(reals((3, 50))) - 1,
    "zeros": np.zeros((3, 50), np.float32),
    "large": reals((3, 50), spread=1e30),
    "small": reals((3, 50), spread=1e-30),
    "halves": (np.arange(-75, 75) / 2).astype(np.float32).reshape(3, 50),
}


@pytest.mark.parametrize("name", SPREADS)
def test_what_a_tensor_spans(name: str) -> None:
    proto = model("y, s, z = DynamicQuantizeLinear(x)", "float[3,50] x", "y, s, z")
    inputs = {"x": SPREADS[name]}
    same(interpreted(proto, inputs), by_reference(proto, inputs))


def test_what_a_tensor_spans_compiled(tmp_path: Path) -> None:
    body = "y, s, z = DynamicQuantizeLinear(x) a, b, c = DynamicQuantizeLinear(v)"
    proto = model(body, "float[3,50] x, float[3,50] v", "y, s, z, a, b, c")
    inputs = {"x": SPREADS["halves"], "v": SPREADS["zeros"]}
    same(compiled(proto, inputs, tmp_path), by_reference(proto, inputs))


COMPUTED = {
    "one scale": ("y = QuantizeLinear(x, s, z) r = DequantizeLinear(y, s, z)", (), "uint8"),
    "one scale in a list": ("y = QuantizeLinear(x, s, z) r = DequantizeLinear(y, s, z)", (1,), "int8"),
    "by channel": ("y = QuantizeLinear(x, s, z) r = DequantizeLinear(y, s, z)", (4,), "int8"),
    "by the last axis": (
        "y = QuantizeLinear<axis=-1>(x, s, z) r = DequantizeLinear<axis=-1>(y, s, z)", (5,), "uint8",
    ),
    "16 bits": ("y = QuantizeLinear(x, s, z) r = DequantizeLinear(y, s, z)", (4,), "uint16"),
    "without zero point": (
        "y = QuantizeLinear<output_dtype=3>(x, s) r = DequantizeLinear(y, s) u = Identity(z)", (4,), "int8",
    ),
}  # fmt: skip


def computed(name: str) -> tuple[onnx.ModelProto, Arrays]:
    """A model whose scale and zero point are inputs, and inputs that saturate at both ends."""
    body, shape, dtype = COMPUTED[name]
    dims = f"[{shape[0]}]" if shape else ""
    proto = model(body, f"float[2,4,5] x, float{dims} s, {dtype}{dims} z", "y, r")
    scales = np.linspace(0.003, 0.02, int(np.prod(shape))).astype(np.float32).reshape(shape)
    zeros = np.arange(3, 3 + scales.size).astype(dtype).reshape(shape)
    return proto, {"x": reals((2, 4, 5), spread=4.0), "s": scales, "z": zeros}


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_scales(name: str) -> None:
    proto, inputs = computed(name)
    same(interpreted(proto, inputs), by_reference(proto, inputs))


@pytest.mark.parametrize("name", ["one scale", "by channel", "16 bits"])
def test_computed_scales_compiled(name: str, tmp_path: Path) -> None:
    proto, inputs = computed(name)
    same(compiled(proto, inputs, tmp_path), by_reference(proto, inputs))


# Products of whole numbers -----------------------------------------------------------------------------

PRODUCTS = {
    "a convolution": (
        "y = ConvInteger<pads=[1,1,0,0], strides=[2,1]>(x, w, z)", "uint8[1,3,6,7] x, uint8 z",
        {"w": bytes_of((5, 3, 3, 2), "int8", 1)}, (1, 3, 6, 7),
    ),
    "a convolution whose padding is its zero point": (
        "y = ConvInteger<auto_pad=\"SAME_UPPER\", group=4>(x, w, z, wz)", "uint8[1,4,5,5] x, uint8 z",
        {"w": bytes_of((4, 1, 3, 3), "uint8", 1), "wz": np.array(129, np.uint8)}, (1, 4, 5, 5),
    ),
    "a product": (
        "y = MatMulInteger(x, w, z, wz)", "uint8[2,5,30] x, uint8 z",
        {"w": bytes_of((30, 7), "uint8", 1), "wz": np.arange(7).astype(np.uint8)}, (2, 5, 30),
    ),
    "a product whose sums pass 2^24": (
        "y = MatMulInteger(x, w, z)", "uint8[3,1500] x, uint8 z",
        {"w": np.full((1500, 2), -127, np.int8)}, (3, 1500),
    ),
}  # fmt: skip


def product(name: str) -> tuple[onnx.ModelProto, Arrays]:
    body, head, constants, shape = PRODUCTS[name]
    x = bytes_of(shape, "uint8", 2)
    x = np.maximum(x, 200) if "pass" in name else x
    return model(body, head, "y", constants), {"x": x, "z": np.array(7, np.uint8)}


@pytest.mark.parametrize("name", PRODUCTS)
def test_computed_zero_points(name: str, tmp_path: Path) -> None:
    proto, inputs = product(name)
    wanted = by_reference(proto, inputs)
    assert (np.abs(wanted[0]).max() > 2**24) == ("pass" in name)
    same(interpreted(proto, inputs), wanted)
    same(compiled(proto, inputs, tmp_path), wanted)


BY_COLUMN = np.linspace(0.01, 0.02, 7).astype(np.float32)
MICROSOFT = {
    "DynamicQuantizeMatMul": (
        "y = com.microsoft.DynamicQuantizeMatMul(x, w, s, z, b)", "float[5,30] x", reals((5, 30)),
    ),
    "DynamicQuantizeMatMul without zero point or bias": (
        "y = com.microsoft.DynamicQuantizeMatMul(x, w, s)", "float[2,5,30] x", reals((2, 5, 30)),
    ),
    "MatMulIntegerToFloat": (
        "y = com.microsoft.MatMulIntegerToFloat(x, w, s, t, xz, z, b)", "uint8[5,30] x",
        bytes_of((5, 30), "uint8", 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MICROSOFT)
def test_operators_of_onnx_runtime(name: str) -> None:
    body, head, x = MICROSOFT[name]
    constants = {
        "w": (bytes_of((30, 7), "int8", 1) >> 1), "b": reals((7,)), "z": np.array(3, np.int8),
        "s": np.array(0.02, np.float32), "t": BY_COLUMN, "xz": np.array(100, np.uint8),
    }  # fmt: skip
    used = {n: a for n, a in constants.items() if f" {n}," in body or f" {n})" in body}
    proto = model(body, head, "y", used)
    wanted = session(proto).run(None, {"x": x})[0]
    (got,) = interpreted(proto, {"x": x})
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


# Whole networks ------------------------------------------------------------------------------------


def dynamic_network(folder: Path) -> onnx.ModelProto:
    """Conv and MatMul as ONNX Runtime's dynamic quantization writes them, weights of 7 bits."""
    body = """
        c = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(c) d = Conv<pads=[1,1,1,1], strides=[2,2]>(r, w2)
        t = Sigmoid(d) f = Flatten(t) y = MatMul(f, w3)"""
    shapes = {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (8, 6, 3, 3), "w3": (8 * 16, 10)}
    weights = {
        n: reals(s, i, spread=float(np.prod(s[1:]) ** -0.5)) for i, (n, s) in enumerate(shapes.items())
    }
    proto = model(body, "float[1,3,8,8] x", "float[1,10] y", weights)
    onnx.save(proto, folder / "float.onnx")
    ortq.quantize_dynamic(
        folder / "float.onnx", folder / "bytes.onnx", reduce_range=True, weight_type=ortq.QuantType.QInt8,
        op_types_to_quantize=["Conv", "MatMul"],
    )  # fmt: skip
    found = onnx.load(folder / "bytes.onnx")
    assert [n.op_type for n in found.graph.node].count("DynamicQuantizeLinear") == 3
    return found


def test_a_network_of_dynamic_quantization(tmp_path: Path) -> None:
    proto, inputs = dynamic_network(tmp_path), {"x": reals((1, 3, 8, 8), 7)}
    wanted, reference = session(proto).run(None, inputs), by_reference(proto, inputs)
    for got in (interpreted(proto, inputs), compiled(proto, inputs, tmp_path)):
        np.testing.assert_allclose(got[0], reference[0], rtol=0, atol=2e-2)
        np.testing.assert_allclose(got[0], wanted[0], rtol=0, atol=2e-2)


# Refusals ------------------------------------------------------------------------------------------

REFUSED = {
    "scales that do not fit": (
        "s = Abs(v) y = QuantizeLinear(x, s)", r"scales of shape 3 do not fit axis 1 of 2x4x5",
    ),
    "zero points that do not fit": (
        "a, s, z = DynamicQuantizeLinear(x) k = Cast<to=2>(v) y = DequantizeLinear(a, s, k)",
        r"zero points of shape 3 do not fit axis 1 of 2x4x5",
    ),
    "blocks": ("s = Abs(x) y = QuantizeLinear<block_size=2>(x, s)", "blocked quantization is not supported"),
    "32 bits": (
        "s = ReduceMax<keepdims=0>(x) y = QuantizeLinear<output_dtype=6>(x, s)",
        "quantization to i32 with a computed scale is not supported",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named(name: str) -> None:
    body, said = REFUSED[name]
    with pytest.raises(ModelError, match=said):
        read_model(model(body, "float[2,4,5] x, float[3] v", "y"))
