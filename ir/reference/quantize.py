"""Between real numbers and quantized ones, exact to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Operator
from ..types import Quant
from .rule import Array, Rule


def scales_and_zeros(quant: Quant, rank: int) -> tuple[Array, Array]:
    """Scales (float32) and zero points (int64), shaped to broadcast over a tensor of `rank`."""
    shape = [-1 if axis == quant.axis else 1 for axis in range(rank)]
    scales, zeros = np.array(quant.scales, np.float32), np.array(quant.zero_points, np.int64)
    return (scales, zeros) if rank == 0 else (scales.reshape(shape), zeros.reshape(shape))


def saturated(x: Array, dtype: np.dtype[Any]) -> Array:
    """`x` (whole numbers) limited to what `dtype` holds."""
    limits = np.iinfo(dtype)
    return np.clip(x, limits.min, limits.max).astype(dtype)


def quantize(op: Operator, arrays: Sequence[Array]) -> Array:
    """x / scale in float32, rounded half to even, plus the zero point, saturated; NaN is the zero point."""
    (x,) = arrays
    type = op.result.type
    scales, zeros = scales_and_zeros(_quant(type.quant), x.ndim)
    steps = np.nan_to_num(
        np.rint(x.astype(np.float32) / scales).astype(np.float64), posinf=1e18, neginf=-1e18
    )
    return saturated(steps + zeros, type.dtype.numpy).reshape(x.shape)


def dequantize(op: Operator, arrays: Sequence[Array]) -> Array:
    """scale (stored - zero point), the difference exact, one rounding by the product in float32."""
    (x,) = arrays
    scales, zeros = scales_and_zeros(_quant(op.operands[0].type.quant), x.ndim)
    real = (x.astype(np.int64) - zeros).astype(np.float32) * scales
    return real.astype(op.result.type.dtype.numpy).reshape(x.shape)


def _quant(quant: Quant | None) -> Quant:
    if quant is None:
        raise ValueError("not a quantized type")
    return quant


def annotate(_: Operator, arrays: Sequence[Array]) -> Array:
    return arrays[0]


def table(_: Operator, arrays: Sequence[Array]) -> Array:
    x, values = arrays
    return values[np.ascontiguousarray(x).view(np.uint8)]


RULES: dict[str, Rule] = {
    "quantize": quantize,
    "dequantize": dequantize,
    "annotate": annotate,
    "table": table,
}
