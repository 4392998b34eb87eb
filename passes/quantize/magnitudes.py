"""How large the weights are that make a channel, and that read it."""

from __future__ import annotations

import numpy as np

from secateur.ir.graph import Operator, constant_of
from secateur.ir.rewrite import Array

from ..fuse.affine import bias_of

HOMOGENEOUS = ("relu", "leaky_relu")
"""Functions f with f(s x) = s f(x) for s > 0."""


def _weights(op: Operator) -> Array:
    weights = constant_of(op.operands[1])
    assert weights is not None
    return np.abs(weights)


def result_ranges(op: Operator) -> Array:
    """The largest magnitude of weights and bias that make each result channel."""
    weights, bias = _weights(op), bias_of(op)
    if op.name == "nn.conv":
        largest = weights.reshape(weights.shape[0], -1).max(axis=1)
    elif op.name == "nn.matmul":
        largest = weights.max(axis=0)
    else:
        g, (c, m) = op["groups"], weights.shape[:2]
        largest = weights.reshape(g, c // g, m, -1).max(axis=(1, 3)).reshape(-1)
    return np.asarray(largest if bias is None else np.maximum(largest, np.abs(bias)))


def input_ranges(op: Operator) -> Array:
    """The largest magnitude of the weights that meet each input channel."""
    weights = _weights(op)
    if op.name != "nn.conv":
        return np.asarray(weights.reshape(weights.shape[0], -1).max(axis=1))
    g, (m, c) = op["groups"], weights.shape[:2]
    return np.asarray(weights.reshape(g, m // g, c, -1).max(axis=(1, 3)).reshape(-1))


def factors(first: Operator, second: Operator) -> Array:
    """The power of two nearest to sqrt(r1 / r2) for each channel; 1 where a range is 0 or not finite."""
    return power_of_two(result_ranges(first), input_ranges(second))


def power_of_two(made: Array, used: Array) -> Array:
    """The power of two nearest to sqrt(made / used); 1 where one is 0 or not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exponents = np.rint(np.log2(made / used) / 2)
    return np.asarray(np.exp2(np.where(np.isfinite(exponents), exponents, 0.0)))
