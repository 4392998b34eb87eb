"""Operators that only TFLite has on bytes (`ir/ops/tflite.py`), as its reference kernels compute them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Operator
from ..ops.linear import one_quant
from ..ops.quantize import PREFIX
from .fixed_point import Integers, multiplier_of, multipliers_of, rescaled
from .fixed_softmax import softmax as fixed_softmax
from .rule import Array, Rule
from .tflite import SIGN, along_channels, centred, channel_factors, scales_of, stored, terms
from .windows import transposed_sums


def softmax(op: Operator, arrays: Sequence[Array]) -> Array:
    x = np.moveaxis(arrays[0].astype(np.int64), op["axis"], -1)
    found = fixed_softmax(x, scales_of(op)[0])
    return np.ascontiguousarray(np.moveaxis(found, -1, op["axis"]).astype(np.uint8))


def sub(op: Operator, arrays: Sequence[Array]) -> Array:
    (a, b), factor = terms(op, arrays)
    return stored(op, rescaled(a - b, *multiplier_of(factor)))


def maximum(_op: Operator, arrays: Sequence[Array]) -> Array:
    return np.asarray(np.maximum(*arrays))


def minimum(_op: Operator, arrays: Sequence[Array]) -> Array:
    return np.asarray(np.minimum(*arrays))


def _result_scale(op: Operator) -> float:
    return one_quant(op.result.type)[0]


def matmul(op: Operator, arrays: Sequence[Array]) -> Array:
    a, b = (centred(op, i, x).astype(np.float64) for i, x in enumerate(arrays))
    first, second = map(np.float32, scales_of(op))
    factor = float(first * second) / _result_scale(op)
    return stored(op, rescaled(np.matmul(a, b).astype(np.int64), *multiplier_of(factor)))


def prelu(op: Operator, arrays: Sequence[Array]) -> Array:
    """Two factors, quotients in float32: of what is from zero on, and of products by a slope."""
    x, slopes = centred(op, 0, arrays[0]), along_channels(arrays[1].astype(np.int64), arrays[0].ndim)
    unit, slope = map(np.float32, scales_of(op))
    y = np.float32(_result_scale(op))
    above = rescaled(x, *multiplier_of(float(unit / y)))
    below = rescaled(x * slopes, *multiplier_of(float(unit * slope / y)))
    return stored(op, np.where(x >= 0, above, below))


def conv_transpose(op: Operator, arrays: Sequence[Array]) -> Array:
    x, w, bias = arrays
    sums = transposed_sums(op, centred(op, 0, x).astype(np.float64), w.astype(np.float64), 1)
    multiplier, shift = (along_channels(p, x.ndim) for p in multipliers_of(channel_factors(op)))
    return stored(op, rescaled(sums.astype(np.int64) + along_channels(bias, x.ndim), multiplier, shift))


# Resize ---------------------------------------------------------------------------------------------

UNIT_BITS = 10


def resize(op: Operator, arrays: Sequence[Array]) -> Array:
    """Weights of 1/1024 along height and width; halves away from zero, of stored i8."""
    y = arrays[0].astype(np.int64) - SIGN
    for axis in (2, 3):
        lower, upper, weight = _taps(op, arrays[0].shape[axis], op["shape"][axis - 2])
        shape = [-1 if a == axis else 1 for a in range(4)]
        near = np.take(y, lower, axis=axis) * ((1 << UNIT_BITS) - weight).reshape(shape)
        y = near + np.take(y, upper, axis=axis) * weight.reshape(shape)
    half, unit = 1 << 2 * UNIT_BITS - 1, 1 << 2 * UNIT_BITS
    rounded = np.where(y > 0, (y + half) // unit, -((half - y) // unit))
    return np.asarray((rounded + SIGN).astype(np.uint8))


def _taps(op: Operator, before: int, after: int) -> tuple[Integers, Integers, Integers]:
    """For each result along an axis: two elements, and the second's weight in 1/1024."""
    one = 1 << UNIT_BITS
    step = (one * before + after // 2) // after
    if op["align_corners"] and after > 1:
        step = (one * (before - 1) + (after - 1) // 2) // (after - 1)
    at: Any = np.arange(after, dtype=np.int64) * step
    if op["half_pixel"]:
        at = at + step // 2 - one // 2
    lower = np.maximum(np.sign(at) * (np.abs(at) // one), 0)
    past = at + one - 1
    upper = np.minimum(np.sign(past) * (np.abs(past) // one), before - 1)
    return lower, upper, at - one * lower


RULES: dict[str, Rule] = {
    f"{PREFIX.removeprefix('q.')}{rule.__name__}": rule
    for rule in (softmax, sub, maximum, minimum, matmul, prelu, conv_transpose, resize)
}
