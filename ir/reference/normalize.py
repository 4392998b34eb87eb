"""Normalizations and softmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Operator
from .rule import Array, Rule


def per_channel(p: Array, rank: int) -> Array:
    """`p` shaped to broadcast along axis 1 of a tensor of `rank`."""
    return p.reshape(1, -1, *[1] * (rank - 2))


def batch_norm(op: Operator, arrays: Sequence[Array]) -> Array:
    """Slope and intercept in float64, applied in float64 to float64 and in float32 to the rest."""
    x, *parameters = arrays
    scale, bias, mean, variance = (per_channel(p.astype(np.float64), x.ndim) for p in parameters)
    slope = scale / np.sqrt(variance + op["epsilon"])
    wide = np.result_type(x.dtype, np.float32)
    return (x * slope.astype(wide) + (bias - mean * slope).astype(wide)).astype(x.dtype)


RULES: dict[str, Rule] = {"batch_norm": batch_norm}
