"""Normalizations of a sum, as ONNX Runtime's optimizer joins them for transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...graph import Value
from ..node import Handler, Node, NodeError
from ..normalize import layer_normalization, rms_normalization


def _sum(node: Node, bias_at: int) -> Value:
    """Inputs 0 and 1, and the bias where there is one."""
    x = node.emit("add", [node.input(0), node.input(1)])
    bias = node.optional(bias_at)
    return x if bias is None else node.emit("add", [x, bias])


def skip_layer_normalization(node: Node) -> list[Any]:
    """layer_norm(x + skip + bias) gamma + beta, its mean and inverse deviation, and the sum.

    Inputs: x, skip, gamma, beta, bias.
    """
    x = _sum(node, 4)
    found = layer_normalization(replace(node, inputs=[x, node.input(2), node.optional(3)]))
    return [*found, *[None] * (3 - len(found)), x]


def skip_simplified_layer_normalization(node: Node) -> list[Any]:
    """rms_norm(x + skip + bias) gamma, two statistics that nobody asks for, and the sum.

    Inputs: x, skip, gamma, bias.
    """
    if any(node.proto.output[1:3]):
        raise NodeError("statistics as outputs are not supported")
    x = _sum(node, 3)
    return [rms_normalization(replace(node, inputs=[x, node.input(2)])), None, None, x]


HANDLERS: dict[str, Handler] = {
    "SkipLayerNormalization": skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": skip_simplified_layer_normalization,
}
UNNAMED: dict[str, Handler] = {"SimplifiedLayerNormalization": rms_normalization}
