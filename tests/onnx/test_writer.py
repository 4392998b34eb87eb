"""The ONNX writer: biases, names, epilogues; graphs that ONNX cannot say. `test_suite.py` has its bulk."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_writer import to_onnx
from secateur.ir.parser import parse_graph
from tests.onnx.models import Array, random_inputs


def _nodes(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def _onnxruntime(proto: onnx.ModelProto, inputs: dict[str, Array]) -> list[Any]:
    import onnxruntime as ort

    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def _assert_runs(graph: Graph) -> onnx.ModelProto:
    """The written model, which gives what the interpreter gives."""
    proto, inputs = to_onnx(graph), random_inputs(graph)
    for found, wanted in zip(_onnxruntime(proto, inputs), run(graph, inputs).values(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    return proto


CONV = """graph @main(%x: tensor<1x2x4x4xf32>, %r: tensor<1x2x4x4xf32>) {
  %w = nn.constant() {value = dense<2x2x1x1xf32: [1.0, 2.0, 3.0, 4.0]>} : tensor<2x2x1x1xf32>
  %b = nn.constant() {value = dense<1x2x1x1xf32: [0.5, -0.5]>} : tensor<1x2x1x1xf32>
  %y = nn.conv(%x, %w, EXTRAS) {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], epilogue = [STEPS]}
    : tensor<1x2x4x4xf32> loc("conv1")
  return %y as "y"
}"""

EPILOGUES = [
    ("%b", "add", ["Conv"]),
    ("%b", "add, relu", ["Conv", "Relu"]),
    ("%b, %r", "add, add, clip(0.0, 6.0)", ["Conv", "Add", "Clip"]),
    ("%r", "add", ["Conv", "Add"]),
    ("%b", "rsub, leaky_relu(0.25), gelu_tanh", ["Conv", "Sub", "LeakyRelu", "Gelu"]),
    ("%r, %b", "mul, prelu, hard_sigmoid(0.25, 0.5)", ["Conv", "Mul", "PRelu", "HardSigmoid"]),
]


@pytest.mark.parametrize(("extras", "steps", "nodes"), EPILOGUES)
def test_epilogues_become_nodes_and_biases(extras: str, steps: str, nodes: list[str]) -> None:
    proto = _assert_runs(parse_graph(CONV.replace("EXTRAS", extras).replace("STEPS", steps)))
    assert _nodes(proto) == nodes
    assert proto.graph.node[0].name == "conv1"
    assert len(proto.graph.node[0].input) == (3 if steps.startswith("add") and extras.startswith("%b") else 2)


def test_a_dense_layer_becomes_gemm() -> None:
    text = """graph @main(%x: tensor<2x3xf32>) {
      %w = nn.constant() {value = dense<3x2xf32: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]>} : tensor<3x2xf32>
      %b = nn.constant() {value = dense<2xf32: [0.5, -0.5]>} : tensor<2xf32>
      %y = nn.matmul(%x, %w, %b) {epilogue = [add, relu]} : tensor<2x2xf32>
      return %y as "y"
    }"""
    assert _nodes(_assert_runs(parse_graph(text))) == ["Gemm", "Relu"]


def test_an_output_may_be_an_input_and_stand_twice() -> None:
    text = """graph @main(%x: tensor<2xf32>) {
      %a = nn.abs(%x) : tensor<2xf32>
      return %x as "same", %a as "x2", %a as "again"
    }"""
    proto = _assert_runs(parse_graph(text))
    assert [o.name for o in proto.graph.output] == ["same", "x2", "again"]


def test_values_of_one_name_stay_apart() -> None:
    graph = parse_graph("""graph @main(%x: tensor<2xf32>) {
      %a = nn.abs(%x) : tensor<2xf32> loc("n")
      %b = nn.neg(%a) : tensor<2xf32> loc("n")
      %c = nn.exp(%b) : tensor<2xf32> loc("n")
      return %c as "b"
    }""")
    graph.operators[0].result.name = "x"
    _assert_runs(graph)


def test_a_quantized_graph_runs_to_the_bit() -> None:
    graph = parse_graph("""graph @main(%x: tensor<2x3xf32>) {
      %q = q.quantize(%x) {scales = [0.5, 0.25], zero_points = [3, -3], axis = 0, dtype = i8}
        : tensor<2x3xi8, quant<axis=0, [0.5:3, 0.25:-3]>>
      %d = q.dequantize(%q) : tensor<2x3xf32>
      return %q as "q", %d as "d"
    }""")
    inputs = {"x": np.array([[-1e9, -0.25, 0.25], [0.125, 0.375, 1e9]], np.float32)}
    for found, wanted in zip(_onnxruntime(to_onnx(graph), inputs), run(graph, inputs).values(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_chosen_primitive_cannot_be_written() -> None:
    text = """graph @main(%x: tensor<1xf32>) {
      %y = prim.relu(%x) {primitive = "map"} : tensor<1xf32>
      return %y as "y"
    }"""
    with pytest.raises(
        ModelError, match=r"<prim\.relu .*> has no ONNX form; write the graph before primitives are chosen"
    ):
        to_onnx(parse_graph(text))


def test_a_quantization_onnx_does_not_have() -> None:
    text = """graph @main(%x: tensor<2xf32>) {
      %q = q.quantize(%x) {scales = [0.5], zero_points = [0], dtype = i32} : tensor<2xi32, quant<0.5:0>>
      return %q as "q"
    }"""
    with pytest.raises(ModelError, match="ONNX cannot quantize to i32"):
        to_onnx(parse_graph(text))
