"""Normalizations and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..graph import Value
from ..ops.rules import normalize_axis
from ..types import DType, extents
from .elementwise import cast_to
from .node import Handler, Node, NodeError


def batch_normalization(node: Node) -> Value | list[Value]:
    """By the statistics that it is given; in training mode by those of its input, which networks that
    standardize their weights are exported with.
    """
    if not node.flag("spatial", True):
        raise NodeError("statistics per activation (spatial = 0) are not supported")
    x, *parameters = [node.input(i) for i in range(5)]
    parameters = [cast_to(node, p, x.type.dtype) for p in parameters]
    if _is_training(node):
        return _by_own_statistics(node, x, parameters)
    if len(node.proto.output) > 1:
        raise NodeError("statistics as outputs are not supported; export the model for inference")
    return node.emit("batch_norm", [x, *parameters], epsilon=node.number("epsilon", 1e-5))


def _is_training(node: Node) -> bool:
    """Before opset 14 it is said by the outputs alone: those behind the first are of training."""
    return node.flag("training_mode") if node.opset >= 14 else len(node.proto.output) > 1


def _by_own_statistics(node: Node, x: Value, parameters: list[Value]) -> list[Value]:
    """The result, and where they are asked for, the running mean and variance moved towards x's, and x's."""
    scale, bias, *running = parameters
    axes = tuple(axis for axis in range(x.type.rank) if axis != 1)
    mean, variance = _moments(node, x, axes)
    found = [node.emit("reshape", [v], shape=scale.type.shape) for v in (mean, variance)]
    result = node.emit("batch_norm", [x, scale, bias, *found], epsilon=node.number("epsilon", 1e-5))
    kept = node.number("momentum", 0.9)
    count = len(node.proto.output) - 1
    pairs = list(zip(running, found, strict=True))[:count]
    return [result, *(_moved(node, old, new, kept) for old, new in pairs), *found[: max(0, count - 2)]]


def _moved(node: Node, old: Value, new: Value, kept: float) -> Value:
    shares = [node.constant(np.array(share, old.type.dtype.numpy)) for share in (kept, 1 - kept)]
    parts = [node.emit("mul", [v, share]) for v, share in zip((old, new), shares, strict=True)]
    return node.emit("add", parts)


def _moments(node: Node, x: Value, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """Mean and variance of x along axes, which stay as extents of 1."""
    mean = node.emit("reduce_mean", [x], axes=axes, keepdims=True)
    apart = node.emit("sub", [x, mean])
    return mean, node.emit("reduce_mean", [node.emit("mul", [apart, apart])], axes=axes, keepdims=True)


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
    mean, variance = _moments(node, x, axes)
    deviation = node.emit("sqrt", [node.emit("add", [variance, node.constant(np.array(epsilon, wide))])])
    return [mean, node.emit("rdiv", [deviation, node.constant(np.array(1, wide))])]


def _per_channel(node: Node, p: Value, rank: int) -> Value:
    """C values shaped to broadcast along axis 1."""
    return node.emit("reshape", [p], shape=(p.type.elements, *[1] * (rank - 2)))


def group_normalization(node: Node) -> Value:
    """Groups of channels as the channels of an instance normalization; then scale and bias of each channel.

    reshape(instance_norm(reshape(x))) scale + bias
    """
    x, scale, bias = (node.input(i) for i in range(3))
    shape, groups = x.type.shape, node.integer("num_groups")
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise NodeError(f"{groups} groups do not fit an input of shape {extents(shape)}")
    parameters = [_of_channels(node, p, groups, shape[1]) for p in (scale, bias)]
    one, zero = (node.constant(np.full(groups, v, x.type.dtype.numpy)) for v in (1, 0))
    grouped = node.emit("reshape", [x], shape=(shape[0], groups, math.prod(shape[1:]) // groups))
    brought = node.emit("instance_norm", [grouped, one, zero], epsilon=node.number("epsilon", 1e-5))
    spread = [_per_channel(node, p, len(shape)) for p in parameters]
    scaled = node.emit("mul", [node.emit("reshape", [brought], shape=shape), spread[0]])
    return node.emit("add", [scaled, spread[1]])


def _of_channels(node: Node, p: Value, groups: int, channels: int) -> Value:
    """A parameter of every channel; before opset 21 there is one of every group."""
    wanted = groups if node.opset < 21 else channels
    if p.type.shape != (wanted,):
        raise NodeError(f"a parameter has shape {extents(p.type.shape)}, not {wanted}")
    rows = node.emit("reshape", [p], shape=(wanted, 1))
    wide = node.emit("expand", [rows], shape=(wanted, channels // wanted)) if wanted else rows
    return node.emit("reshape", [wide], shape=(channels,))


def rms_normalization(node: Node) -> Value:
    """x / sqrt(mean of squares + epsilon) scale, over axes `axis` and up; half precision in single."""
    x, scale = node.input(0), node.input(1)
    axes = tuple(range(normalize_axis(node.integer("axis", -1), x.type.rank), x.type.rank))
    wide = cast_to(node, x, DType.F32) if x.type.dtype == DType.F16 else x
    mean = node.emit("reduce_mean", [node.emit("mul", [wide, wide])], axes=axes, keepdims=True)
    epsilon = node.constant(np.array(node.number("epsilon", 1e-5), wide.type.dtype.numpy))
    root = node.emit("sqrt", [node.emit("add", [mean, epsilon])])
    brought = cast_to(node, node.emit("div", [wide, root]), x.type.dtype)
    return node.emit("mul", [brought, scale])


def mean_variance_normalization(node: Node) -> Value:
    """(x - mean) / (deviation + 1e-9)"""
    x = node.input(0)
    axes = node.ints("axes", (0, 2, 3))
    apart = node.emit("sub", [x, node.emit("reduce_mean", [x], axes=axes, keepdims=True)])
    variance = node.emit("reduce_mean", [node.emit("mul", [apart, apart])], axes=axes, keepdims=True)
    least = node.constant(np.array(1e-9, x.type.dtype.numpy))
    return node.emit("div", [apart, node.emit("add", [node.emit("sqrt", [variance]), least])])


def hardmax(node: Node) -> Value:
    """1 where the index along the axis is that of the first largest element, else 0."""

    def of_axis(x: Value, axis: int) -> Value:
        found = node.emit("argmax", [x], axis=axis, keepdims=True)
        places = np.arange(x.type.shape[axis], dtype=np.int64).reshape(-1, *[1] * (x.type.rank - 1 - axis))
        return cast_to(node, node.emit("equal", [found, node.constant(places)]), x.type.dtype)

    return _along(node, of_axis)


def lrn(node: Node) -> Value:
    numbers = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    attributes = {name: node.number(name, default) for name, default in numbers.items()}
    return node.emit("lrn", [node.input(0)], size=node.integer("size"), **attributes)


def _along(node: Node, of_axis: Callable[[Value, int], Value]) -> Value:
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    return along(node, node.input(0), axis, node.opset, of_axis)


def along(node: Node, x: Value, axis: int, opset: int, of_axis: Callable[[Value, int], Value]) -> Value:
    """Since opset 13 along one axis; before, over all axes from `axis` on, as of a matrix."""
    axis = normalize_axis(axis, x.type.rank)
    if opset >= 13 or axis == x.type.rank - 1:
        return of_axis(x, axis)
    rows = math.prod(x.type.shape[:axis])
    matrix = node.emit("reshape", [x], shape=(rows, math.prod(x.type.shape[axis:])))
    return node.emit("reshape", [of_axis(matrix, 1)], shape=x.type.shape)


def _softmax(name: str) -> Handler:
    return lambda node: _along(node, lambda x, axis: node.emit(name, [x], axis=axis))


HANDLERS: dict[str, Handler] = {
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "GroupNormalization": group_normalization,
    "RMSNormalization": rms_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "Hardmax": hardmax,
    "LRN": lrn,
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
}
