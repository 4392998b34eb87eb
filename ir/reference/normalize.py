"""Normalizations and softmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Operator
from .rule import Array, Rule, widened


def per_channel(p: Array, rank: int) -> Array:
    """`p` shaped to broadcast along axis 1 of a tensor of `rank`."""
    return p.reshape(1, -1, *[1] * (rank - 2))


def batch_norm(op: Operator, arrays: Sequence[Array]) -> Array:
    """Slope and intercept in float64, applied in float64 to float64 and in float32 to the rest."""
    x, *parameters = arrays
    scale, bias, mean, variance = (per_channel(p.astype(np.float64), x.ndim) for p in parameters)
    slope = scale / np.sqrt(variance + op["epsilon"])
    wide = np.result_type(x.dtype, np.float32)
    found: Array = (x * slope.astype(wide) + (bias - mean * slope).astype(wide)).astype(x.dtype)
    return found


def _standardized(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    x = widened(x)
    found: Array = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(
        x.var(axis=axes, keepdims=True) + x.dtype.type(epsilon)
    )
    return found


def instance_norm(op: Operator, arrays: Sequence[Array]) -> Array:
    x, scale, bias = arrays
    brought = _standardized(x, tuple(range(2, x.ndim)), op["epsilon"])
    return (brought * per_channel(scale, x.ndim) + per_channel(bias, x.ndim)).astype(x.dtype)


def layer_norm(op: Operator, arrays: Sequence[Array]) -> Array:
    x, scale, bias = arrays
    brought = _standardized(x, tuple(range(op["axis"] % x.ndim, x.ndim)), op["epsilon"])
    return (brought * scale + bias).astype(x.dtype)


def lrn(op: Operator, arrays: Sequence[Array]) -> Array:
    """Channel c sums squares of channels c - floor((size-1)/2) to c + ceil((size-1)/2)."""
    (x,) = arrays
    wide, channels, size = widened(x), x.shape[1], op["size"]
    before, after = min((size - 1) // 2, channels), min(size // 2, channels)
    edges = [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)]
    squares = np.pad(wide * wide, edges)
    total = sum(squares[:, i : i + channels] for i in range(before + after + 1))
    scale = wide.dtype.type(op["alpha"] / size)
    found: Array = (
        wide / (wide.dtype.type(op["bias"]) + scale * total) ** wide.dtype.type(op["beta"])
    ).astype(x.dtype)
    return found


def _shifted(op: Operator, x: Array) -> Array:
    x = widened(x)
    found: Array = x - x.max(axis=op["axis"], keepdims=True, initial=-np.inf)
    return found


def softmax(op: Operator, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    e = np.exp(_shifted(op, x))
    found: Array = (e / e.sum(axis=op["axis"], keepdims=True)).astype(x.dtype)
    return found


def log_softmax(op: Operator, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    shifted = _shifted(op, x)
    found: Array = (shifted - np.log(np.exp(shifted).sum(axis=op["axis"], keepdims=True))).astype(x.dtype)
    return found


RULES: dict[str, Rule] = {
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "lrn": lrn,
    "softmax": softmax,
    "log_softmax": log_softmax,
}
