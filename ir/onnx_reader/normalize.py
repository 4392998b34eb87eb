"""Normalizations and softmax."""

from __future__ import annotations

from ..graph import Value
from .node import Handler, Node, NodeError


def batch_normalization(node: Node) -> Value:
    if node.flag("training_mode") or len(node.proto.output) > 1:
        raise NodeError("training mode is not supported; export the model for inference")
    x, *parameters = [node.input(i) for i in range(5)]
    parameters = [p if p.type.dtype == x.type.dtype else node.emit("cast", [p], dtype=x.type.dtype) for p in parameters]
    return node.emit("batch_norm", [x, *parameters], epsilon=node.float("epsilon", 1e-5))


HANDLERS: dict[str, Handler] = {"BatchNormalization": batch_normalization}
