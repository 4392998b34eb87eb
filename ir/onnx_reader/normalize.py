"""Normalizations and softmax."""

from __future__ import annotations

import math

import numpy as np

from ..graph import Value
from ..ops.rules import normalize_axis
from .elementwise import cast_to
from .node import Handler, Node, NodeError


def batch_normalization(node: Node) -> Value:
    if node.flag("training_mode") or len(node.proto.output) > 1:
        raise NodeError("training mode is not supported; export the model for inference")
    if not node.flag("spatial", True):
        raise NodeError("statistics per activation (spatial = 0) are not supported")
    x, *parameters = [node.input(i) for i in range(5)]
    parameters = [cast_to(node, p, x.type.dtype) for p in parameters]
    return node.emit("batch_norm", [x, *parameters], epsilon=node.number("epsilon", 1e-5))


def instance_normalization(node: Node) -> Value:
    return node.emit("instance_norm", [node.input(i) for i in range(3)], epsilon=node.number("epsilon", 1e-5))


def layer_normalization(node: Node) -> list[Value]:
    """The result; and where they are asked for, mean and inverse standard deviation, computed apart."""
    x, scale, bias = node.input(0), node.input(1), node.optional(2)
    axis, epsilon = normalize_axis(node.integer("axis", -1), x.type.rank), node.number("epsilon", 1e-5)
    if bias is None:
        bias = node.constant(np.zeros((), x.type.dtype.numpy))
    result = node.emit("layer_norm", [x, scale, bias], axis=axis, epsilon=epsilon)
    return [result, *_statistics(node, x, axis, epsilon)] if len(node.proto.output) > 1 else [result]


def _statistics(node: Node, x: Value, axis: int, epsilon: float) -> list[Value]:
    axes = tuple(range(axis, x.type.rank))
    wide = np.result_type(x.type.dtype.numpy, np.float32)
    mean = node.emit("reduce_mean", [x], axes=axes, keepdims=True)
    apart = node.emit("sub", [x, mean])
    variance = node.emit("reduce_mean", [node.emit("mul", [apart, apart])], axes=axes, keepdims=True)
    deviation = node.emit("sqrt", [node.emit("add", [variance, node.constant(np.array(epsilon, wide))])])
    return [mean, node.emit("rdiv", [deviation, node.constant(np.array(1, wide))])]


def lrn(node: Node) -> Value:
    numbers = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    attributes = {name: node.number(name, default) for name, default in numbers.items()}
    return node.emit("lrn", [node.input(0)], size=node.integer("size"), **attributes)


def _softmax(name: str) -> Handler:
    """Since opset 13 along one axis; before, over all axes from `axis` on, as of a matrix."""

    def handler(node: Node) -> Value:
        x = node.input(0)
        axis = normalize_axis(node.integer("axis", -1 if node.opset >= 13 else 1), x.type.rank)
        if node.opset >= 13 or axis == x.type.rank - 1:
            return node.emit(name, [x], axis=axis)
        rows = math.prod(x.type.shape[:axis])
        matrix = node.emit("reshape", [x], shape=(rows, math.prod(x.type.shape[axis:])))
        return node.emit("reshape", [node.emit(name, [matrix], axis=1)], shape=x.type.shape)

    return handler


HANDLERS: dict[str, Handler] = {
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "LRN": lrn,
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
}
