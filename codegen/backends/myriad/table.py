"""Operators of ONNX that OpenVINO's Myriad plugin has ("Supported Devices" of 2022, column VPU plugins)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_NAMES = """
    Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Constant Conv ConvTranspose
    Div Elu Equal Erf Exp Expand Flatten Floor Gather Gemm GlobalAveragePool GlobalMaxPool Greater
    GreaterOrEqual HardSwish Identity LRN LSTM LeakyRelu Less LessOrEqual Log MatMul Max MaxPool Min
    Mul Not Or PRelu Pad Pow ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Resize Sigmoid
    Sign Slice Softmax Softplus Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where Xor
"""
MAPPED = frozenset(_NAMES.split())
FLAT = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
"""Windows, which have two axes of space at most there."""


def refusals(model: Any) -> Iterator[str]:
    """Each node that the plugin has no operator for, by name."""
    ranks = {i.name: len(i.dims) for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in MAPPED:
            yield f"{node.name or node.output[0]} ({node.op_type})"
        elif node.op_type in FLAT and _space(node, ranks) > 2:
            yield f"{node.name or node.output[0]} ({node.op_type} over {_space(node, ranks)} axes)"


def _space(node: Any, ranks: dict[str, int]) -> int:
    kernel = next((len(a.ints) for a in node.attribute if a.name == "kernel_shape"), 0)
    weights = ranks.get(node.input[1], 2) - 2 if len(node.input) > 1 else 0
    return max(kernel, weights)
