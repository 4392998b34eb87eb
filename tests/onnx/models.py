"""Models for tests, written as ONNX text."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from secateur.ir.graph import Graph
from secateur.ir.interpreter import run

Array = NDArray[Any]


def model(body: str, opset: int = 17, head: str = "float[1,3,8,8] x") -> onnx.ModelProto:
    """A model from `head` to `y`; `body` is its nodes, or `<initializers> { nodes }`."""
    nodes = body if body.startswith("<") else f"{{ {body} }}"
    text = f'<ir_version: 8, opset_import: ["": {opset}]> main ({head}) => (y) {nodes}'
    return onnx.parser.parse_model(text)


def with_initializer(tensor: onnx.TensorProto) -> onnx.ModelProto:
    """y = x + w, where `w`, two elements, is `tensor`."""
    found = model("<float[2] w = {1.0, 2.0}> { y = Add (x, w) }", head="float[2] x")
    tensor.name = "w"
    found.graph.initializer[0].CopyFrom(tensor)
    return found


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    choose = np.random.default_rng(seed)
    return {v.name: choose.standard_normal(v.type.shape).astype(v.type.dtype.numpy) for v in graph.inputs}


def onnxruntime(proto: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    """The only output of a model, as ONNX Runtime computes it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, inputs)[0]
    return found


def assert_as_onnxruntime(proto: onnx.ModelProto, graph: Graph) -> None:
    """AssertionError where the interpreted graph and ONNX Runtime differ by more than rounding."""
    inputs = random_inputs(graph)
    np.testing.assert_allclose(run(graph, inputs)["y"], onnxruntime(proto, inputs), rtol=1e-4, atol=1e-5)


def operators(graph: Graph) -> list[str]:
    """Names of a graph's operators, constants left out."""
    return [op.name for op in graph.operators if op.name != "nn.constant"]
