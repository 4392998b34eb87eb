"""Weights of 4 and 2 bits, and scales for blocks of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from secateur.ir.errors import ModelError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.onnx_reader.tensors import decode_few_bits
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.fuse import Fuse
from tests.onnx.models import onnxruntime, operators

Array = NDArray[Any]
_RANDOM = np.random.default_rng(0)
KINDS = {"INT4": (-8, 8), "UINT4": (0, 16), "INT2": (-2, 2), "UINT2": (0, 4)}


def few(name: str, kind: str, *shape: int) -> onnx.TensorProto:
    """Random integers of a kind."""
    stored = _RANDOM.integers(*KINDS[kind], shape)
    return helper.make_tensor(name, getattr(TensorProto, kind), shape, stored.reshape(-1))


def reals(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(_RANDOM.uniform(0.1, 0.5, shape).astype(np.float32), name)


def model(nodes: str, shape: str, *initializers: onnx.TensorProto) -> onnx.ModelProto:
    text = f'<ir_version: 10, opset_import: ["": 21]> main (float[{shape}] x) => (y) {{ {nodes} }}'
    found = onnx.parser.parse_model(text)
    found.graph.initializer.extend(initializers)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "listed"])
def test_elements_of_a_few_bits_are_unpacked(kind: str, raw: bool) -> None:
    tensor = few("w", kind, 3, 5)
    wanted = numpy_helper.to_array(tensor).astype(np.int64)
    if raw != tensor.HasField("raw_data"):
        packed = tensor.raw_data or bytes(tensor.int32_data)
        tensor.ClearField("raw_data")
        tensor.ClearField("int32_data")
        if raw:
            tensor.raw_data = packed
        else:
            tensor.int32_data.extend(packed)
    np.testing.assert_array_equal(decode_few_bits(tensor, None), wanted)


def test_elements_of_a_few_bits_in_another_file(tmp_path: Path) -> None:
    tensor = few("w", "INT4", 4, 4)
    wanted = numpy_helper.to_array(tensor).astype(np.int64)
    (tmp_path / "w.bin").write_bytes(tensor.raw_data or bytes(tensor.int32_data))
    for name in ("raw_data", "int32_data"):
        tensor.ClearField(name)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    np.testing.assert_array_equal(decode_few_bits(tensor, tmp_path), wanted)


QDQ = (
    "a = QuantizeLinear (x, s, z) b = DequantizeLinear (a, s, z) "
    "v = DequantizeLinear <axis = 0> (w, t, u) c = Conv (b, v) "
    "d = QuantizeLinear (c, s, z) y = DequantizeLinear (d, s, z)"
)
HALF = [
    numpy_helper.from_array(np.array(0.5, np.float32), "s"),
    numpy_helper.from_array(np.array(120, np.uint8), "z"),
]


def test_a_convolution_by_weights_of_4_bits_is_integer() -> None:
    zeros = helper.make_tensor("u", TensorProto.INT4, [6], np.zeros(6, int))
    proto = model(QDQ, "1,4,8,8", *HALF, few("w", "INT4", 6, 4, 3, 3), reals("t", 6), zeros)
    graph = Fuse().run(Canonicalize().run(read_model(proto)))
    assert operators(graph) == ["q.quantize", "q.linear_conv", "q.dequantize"]
    x = _RANDOM.standard_normal((1, 4, 8, 8)).astype(np.float32)
    steps = np.abs(run(graph, {"x": x})["y"] - onnxruntime(proto, {"x": x})) / 0.5
    assert steps.max() <= 1
    assert steps.mean() < 0.01


BLOCKS = "w = DequantizeLinear <axis = 0, block_size = 8> (b, s{zero}) y = MatMul (x, w)"


@pytest.mark.parametrize("zero", ["", ", z"])
def test_products_of_weights_in_blocks(zero: str) -> None:
    weights, zeros = few("b", "UINT4", 24, 5), few("z", "UINT4", 3, 5)
    proto = model(BLOCKS.format(zero=zero), "2,24", weights, reals("s", 3, 5), zeros)
    x = _RANDOM.standard_normal((2, 24)).astype(np.float32)
    found = run(read_model(proto), {"x": x})["y"]
    np.testing.assert_allclose(found, onnxruntime(proto, {"x": x}), rtol=1e-5, atol=1e-5)


REFUSED = [
    (BLOCKS.format(zero=""), [few("b", "UINT4", 24, 5), reals("s", 2, 5)],
     "do not fit blocks of 8 along axis 0"),
    ("q = QuantizeLinear (x, s, z) y = DequantizeLinear <block_size = 8> (q, s)",
     [*HALF], "blocked quantization of what is computed is not supported"),
    ("q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)",
     [HALF[0], few("z", "INT4")], "quantization to fewer than 8 bits"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "initializers", "message"), REFUSED)
def test_what_is_refused(nodes: str, initializers: list[onnx.TensorProto], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_model(model(nodes, "2,24", *initializers))


def test_a_tensor_of_another_length_is_refused() -> None:
    tensor = few("w", "INT4", 3, 5)
    tensor.ClearField("int32_data")
    tensor.raw_data = b"1234567"
    with pytest.raises(ModelError, match="tensor 'w': holds 7 bytes, its shape needs 8"):
        decode_few_bits(tensor, None)
