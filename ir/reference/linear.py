"""Operators on 8-bit tensors, exact to the bit; see `ir/ops/linear.py` for their contract."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from ..graph import Operator
from ..ops.linear import channel_multipliers, multiplier, one_quant, prelu_multipliers, residual_multiplier
from ..support.reach import reached
from .rule import Array, Rule
from .windows import conv_sums, taps


def centred(op: Operator, index: int, x: Array) -> Array:
    """x - zero point of operand `index`, in int64."""
    return np.subtract(x, one_quant(op.operands[index].type)[1], dtype=np.int64)


def stored(op: Operator, t: Array) -> Array:
    """The result for `t`, in float32 steps of the result."""
    if op.result.type.quant is None:
        return t.astype(np.float32)
    low, high = op["limits"]
    steps = np.rint(t).astype(np.float64) + one_quant(op.result.type)[1]
    return np.clip(steps, low, high).astype(np.uint8)


def term(op: Operator, index: int, x: Array) -> Array:
    """What operand `index` adds to t."""
    return centred(op, index, x).astype(np.float32) * residual_multiplier(op, index)


def with_residual(op: Operator, t: Array, index: int, arrays: Sequence[Array]) -> Array:
    return t + term(op, index, arrays[index]) if len(arrays) > index else t


def along_channels(values: Array, rank: int) -> Array:
    return values.reshape(-1, *[1] * (rank - 2))


def linear_conv(op: Operator, arrays: Sequence[Array]) -> Array:
    """Products in float64, where every sum is a whole number below 2^53."""
    x, w, bias = arrays[:3]
    sums = conv_sums(op, centred(op, 0, x).astype(np.float64), w.astype(np.float64))
    sums = sums + along_channels(bias, x.ndim)
    t = sums.astype(np.float32) * along_channels(channel_multipliers(op), x.ndim)
    nothing = one_quant(op.operands[3].type)[1] if len(arrays) > 3 else 0
    met = reached(arrays, op["reach"], op.result.type.shape[1], nothing)
    return stored(op, with_residual(op, t, 3, met))


def linear_matmul(op: Operator, arrays: Sequence[Array]) -> Array:
    x, w, bias = arrays
    sums = np.matmul(centred(op, 0, x).astype(np.float64), w.astype(np.float64)) + bias
    return stored(op, sums.astype(np.float32) * channel_multipliers(op))


def linear_add(op: Operator, arrays: Sequence[Array]) -> Array:
    a, b = arrays
    return stored(op, term(op, 0, a) + term(op, 1, b))


def linear_mul(op: Operator, arrays: Sequence[Array]) -> Array:
    scales = [one_quant(v.type)[0] for v in op.operands]
    products = centred(op, 0, arrays[0]) * centred(op, 1, arrays[1])
    return stored(op, products.astype(np.float32) * multiplier(op.result.type, *scales))


def linear_prelu(op: Operator, arrays: Sequence[Array]) -> Array:
    x, slopes = arrays
    steps = centred(op, 0, x).astype(np.float32)
    above, below = prelu_multipliers(op, slopes)
    return stored(op, steps * np.where(steps >= 0, above, along_channels(below, x.ndim)))


def linear_average_pool(op: Operator, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    scale = one_quant(op.operands[0].type)[0]
    total = reduce(np.add, taps(op, centred(op, 0, x), op["kernel"]))
    counts = pool_counts(op)
    found = {int(n): multiplier(op.result.type, scale, 1 / n) for n in np.unique(counts)}
    factors = np.vectorize(found.__getitem__, otypes=[np.float32])(counts)
    return stored(op, total.astype(np.float32) * factors)


def pool_counts(op: Operator) -> Array:
    """How many elements each window counts: (spatial of the result), whole numbers."""
    kernel, pads, x = op["kernel"], op["pads"], op.operands[0].type
    n = len(kernel)
    edges = [(0, 0), (0, 0), *zip(pads[:n], pads[n:], strict=True)]
    counted = np.pad(np.ones((1, 1, *x.shape[2:]), int), edges, constant_values=int(op["count_include_pad"]))
    found: Array = reduce(np.add, taps(op, counted, kernel, begins=[0] * n))[0, 0]
    return found


RULES: dict[str, Rule] = {
    "linear_conv": linear_conv,
    "linear_matmul": linear_matmul,
    "linear_add": linear_add,
    "linear_mul": linear_mul,
    "linear_prelu": linear_prelu,
    "linear_average_pool": linear_average_pool,
}
