"""Operators on 8-bit tensors with `rounding = "tflite"`: as the reference kernels of TFLite compute them.

Those kernels store i8; ours is the same integer and zero point plus 128, which changes no difference to a
zero point. Where a kernel looks at the stored integer itself, it is that of i8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from ..graph import Operator
from ..ops.linear import one_quant
from .fixed_point import Integers, away, multiplier_of, multipliers_of, rescaled
from .quantize import saturated
from .rule import Array, Rule
from .windows import conv_sums, taps

SIGN = 128
"""What a stored u8 has more than TFLite's i8."""


def scales_of(op: Operator) -> list[float]:
    """Of the operands that are activations, as float32 holds them."""
    return [one_quant(v.type)[0] for v in op.operands]


def centred(op: Operator, index: int, x: Array) -> Integers:
    return x.astype(np.int64) - one_quant(op.operands[index].type)[1]


def stored(op: Operator, steps: Integers) -> Array:
    """The result for `steps` from its zero point."""
    return _clipped(steps + one_quant(op.result.type)[1], op)


def _clipped(steps: Integers, op: Operator) -> Array:
    low, high = op.get("limits") or (0, 255)
    return np.clip(steps, low, high).astype(np.uint8)


def along_channels(numbers: Integers, rank: int) -> Integers:
    """One number a channel, shaped to broadcast to a tensor of `rank` axes."""
    return numbers.reshape(-1, *[1] * (rank - 2))


def channel_factors(op: Operator) -> NDArray[np.float64]:
    """Of a convolution or matrix product: what one unit of each channel's sum is worth."""
    weights = op.operands[1].type.quant
    assert weights is not None, "the type rule wants quantized weights"
    x, y = one_quant(op.operands[0].type)[0], one_quant(op.result.type)[0]
    channels = op.result.type.shape[-1 if "matmul" in op.name else 1]
    return np.broadcast_to(np.array(weights.scales, np.float32).astype(np.float64) * x / y, (channels,))


def linear_conv(op: Operator, arrays: Sequence[Array]) -> Array:
    x, w, bias = arrays
    shape = (-1, *[1] * (x.ndim - 2))
    sums = conv_sums(op, centred(op, 0, x).astype(np.float64), w.astype(np.float64)).astype(np.int64)
    multiplier, shift = (part.reshape(shape) for part in multipliers_of(channel_factors(op)))
    return stored(op, rescaled(sums + bias.reshape(shape), multiplier, shift))


def linear_matmul(op: Operator, arrays: Sequence[Array]) -> Array:
    """With one scale of the weights, FULLY_CONNECTED, which multiplies in float64 and rounds once.

    With one a column it is a 1x1 convolution.
    """
    x, w, bias = arrays
    sums = np.matmul(centred(op, 0, x).astype(np.float64), w.astype(np.float64)).astype(np.int64) + bias
    weights, factors = op.operands[1].type.quant, channel_factors(op)
    if weights is not None and weights.axis is None:
        return stored(op, away(sums * factors).astype(np.int64))
    return stored(op, rescaled(sums, *multipliers_of(factors)))


ADD_BITS = 20
"""By so many bits the terms of a sum are shifted up before they are brought to a common scale."""


def terms(op: Operator, arrays: Sequence[Array]) -> tuple[list[Integers], float]:
    """Both terms in steps of twice the larger scale, 20 bits finer; what such a step is in the result's."""
    scales = scales_of(op)
    common = 2.0 * max(scales)
    found = [
        rescaled(centred(op, i, x) << ADD_BITS, *multiplier_of(scale / common))
        for i, (x, scale) in enumerate(zip(arrays, scales, strict=True))
    ]
    return found, add_factor(op)


def linear_add(op: Operator, arrays: Sequence[Array]) -> Array:
    (a, b), factor = terms(op, arrays)
    return stored(op, rescaled(a + b, *multiplier_of(factor)))


def add_factor(op: Operator) -> float:
    """What a step of the sum is worth in steps of the result; a kernel wants it below 1."""
    unit = np.float32(1 << ADD_BITS) * np.float32(one_quant(op.result.type)[0])
    return 2.0 * max(scales_of(op)) / float(unit)


def linear_mul(op: Operator, arrays: Sequence[Array]) -> Array:
    a, b = map(np.float32, scales_of(op))
    factor = float(a * b / np.float32(one_quant(op.result.type)[0]))
    products = centred(op, 0, arrays[0]) * centred(op, 1, arrays[1])
    return stored(op, rescaled(products, *multiplier_of(factor)))


def linear_average_pool(op: Operator, arrays: Sequence[Array]) -> Array:
    """A pool where the quantization stays, else the mean of a whole plane."""
    (x,) = arrays
    return _pool(op, x) if op.result.type.quant == op.operands[0].type.quant else _mean(op, x)


def _pool(op: Operator, x: Array) -> Array:
    """The mean of stored i8, halves away from zero; padding that counts is the zero point."""
    n, zero = len(op["kernel"]), one_quant(op.operands[0].type)[1] - SIGN
    signed, begins = x.astype(np.int64) - SIGN, op["pads"][:n]
    if op["count_include_pad"]:
        edges = [(0, 0), (0, 0), *zip(begins, op["pads"][n:], strict=True)]
        signed, begins = np.pad(signed, edges, constant_values=zero), [0] * n
    total = reduce(np.add, taps(op, signed, op["kernel"], begins=begins))
    count = reduce(np.add, taps(op, np.ones_like(signed), op["kernel"], begins=begins))
    mean: Integers = np.where(total > 0, (total + count // 2) // count, -((count // 2 - total) // count))
    return _clipped(mean + SIGN, op)


def _mean(op: Operator, x: Array) -> Array:
    """The sum from the zero point times a multiplier that 1 / count has been put into."""
    count = math.prod(op["kernel"])
    multiplier, shift = multiplier_of(scales_of(op)[0] / one_quant(op.result.type)[0])
    bits = min(count.bit_length() - 1, 32, 31 + shift)
    total = reduce(np.add, taps(op, centred(op, 0, x), op["kernel"]))
    return stored(op, rescaled(total, (multiplier << bits) // count, shift - bits))


def quantize(op: Operator, arrays: Sequence[Array]) -> Array:
    """x / scale in float32, halves away from zero, plus the zero point, saturated."""
    (x,) = arrays
    scale, zero = one_quant(op.result.type)
    steps = np.nan_to_num(away(x.astype(np.float32) / np.float32(scale)), posinf=1e18, neginf=-1e18)
    return saturated(steps + zero, op.result.type.dtype.numpy)


RULES: dict[str, Rule] = {
    "linear_conv": linear_conv,
    "linear_matmul": linear_matmul,
    "linear_add": linear_add,
    "linear_mul": linear_mul,
    "linear_average_pool": linear_average_pool,
    "quantize": quantize,
}
"""By the operator, what it means where its attribute `rounding` is `tflite`."""
