"""Convolution quantized in the Winograd domain (LANCE: Li et al. 2020), with factors per tap and channel.

A tile of the result is m_h x m_w outputs, of the input (m_h + 2) x (m_w + 2); a
tap is a position (i, j) of the input tile, number i (m_w + 2) + j. Bits of a result
depend on where tiles lie, which `support/tiles.py` tells. For each tile:

1. V = B^T (x - zero point) B, down the columns first, whole numbers of 16 bits in
   the steps of `_inputs`; outside the image x is its zero point. F(4, 3) has its
   points at sqrt 2 (`ir/root_two.py`); x / sqrt 2 is (23170 x + 2^14) >> 15.
2. q = clamp((V factor + 2^14) >> 15, -128, 127), with `factors` for each tap
   and channel: the rounding multiplication of SSSE3's pmulhrsw, ARM's sqrdmulh.
3. P = sum over channels of q u, in int32, for each tap and filter.
4. F = f32(P) scale, with `scales` for each tap and filter, in steps of the
   result; rounded to float32.
5. t = A^T F A, down the columns first, in the order of `_outputs`; float32,
   every addition rounded. Products by 1/2 and 1/4 are exact, those by 1/sqrt 2
   and sqrt 2 rounded.
6. t + bias, then the residual as in `q.linear_conv`.

Where `results` are words, steps 4 to 6 are those of `ir/reference/words.py`.

Weights are given as u (taps, filters, channels), or as filters (filters, channels, 3, 3) of the model with a
scale for each filter: then u, and what each tap's scale is in steps of the filter, are those of
`ir/filters.py`, and step 4 has the product of the two as its scale, rounded to float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..filters import byte_filters
from ..graph import Operator
from ..ops.linear import WORDS
from ..support.tiles import Tiles
from .linear import along_channels, centred, stored, with_residual
from .rule import Array, Rule
from .words import ended, words

ROOT_FACTOR = 23170  # 2^15 / sqrt 2
HALF, QUARTER = np.float32(0.5), np.float32(0.25)
ROOT, BY_ROOT = np.float32(2**0.5), np.float32(0.5**0.5)


def winograd_conv(op: Operator, arrays: Sequence[Array]) -> Array:
    x, factors, bias = arrays[0], arrays[2], arrays[4]
    tall, wide = op["tile"]
    u, scales = domain_weights(op, arrays[1], factors, arrays[3])
    tiles = input_tiles(op, centred(op, 0, x))
    v = transformed_input(tiles)
    q = quantized_input(v, factors)
    products = np.matmul(u.astype(np.float64), q.astype(np.float64))
    if op["results"] == WORDS:
        sums, bits = (_placed(op, tiles) for tiles in words(op["tile"], op["factor_bits"], products, scales))
        return ended(op, sums, bits, bias, arrays[5] if len(arrays) > 5 else None)
    real = products.astype(np.float32) * scales[:, :, None]
    t = _placed(op, transformed_output(real, tall, wide))
    t = t + along_channels(bias, 4)
    return stored(op, with_residual(op, t, 5, arrays))


def domain_weights(op: Operator, weights: Array, factors: Array, scales: Array) -> tuple[Array, Array]:
    """Weights (taps, M, C) and scales (taps, M) in the Winograd domain, as given or made of filters."""
    if weights.ndim == 3:
        return weights, scales
    made = byte_filters(weights, factors, op["tile"])
    return made.weights, made.units * scales


def input_tiles(op: Operator, x: Array) -> Array:
    """The overlapping tiles of N x C x H x W: (m_h + 2, m_w + 2, C, N * down * across)."""
    (tall, wide), pads = op["tile"], op["pads"]
    n, c, _, _ = x.shape
    down, across = _axes(op)
    padded = np.pad(x, [(0, 0), (0, 0), (pads[0], tall + 2), (pads[1], wide + 2)])
    rows = np.add.outer(np.arange(tall + 2), [down.start(a) for a in range(down.count)])
    columns = np.add.outer(np.arange(wide + 2), [across.start(b) for b in range(across.count)])
    found = padded[:, :, rows[:, None, :, None], columns[None, :, None, :]]
    return found.transpose(2, 3, 1, 0, 4, 5).reshape(tall + 2, wide + 2, c, n * down.count * across.count)


def _axes(op: Operator) -> tuple[Tiles, Tiles]:
    """Tiles down and across one image."""
    height, width = op.result.type.shape[2:]
    return Tiles(height, op["tile"][0]), Tiles(width, op["tile"][1])


def transformed_input(tiles: Array) -> Array:
    """B^T d B of tiles as `input_tiles` gives them: (taps, C, tiles)."""
    columns = np.stack(_inputs(list(tiles)))
    rows = [np.stack(_inputs(list(row))) for row in columns]
    return np.stack(rows).reshape(-1, *tiles.shape[2:])


def _inputs(d: list[Array]) -> list[Array]:
    """B^T d along one axis, of 4 or 6 values."""
    if len(d) == 4:
        return [d[2] - d[0], d[1] + d[2], d[2] - d[1], d[3] - d[1]]
    a, b = 2 * d[4] - d[2], 2 * d[3] - d[1]
    e, o = d[4] - 2 * d[2], d[3] - 2 * d[1]
    first, last = a + 2 * (d[0] - 2 * d[2]), 2 * (d[5] - 2 * d[3]) - o
    a, o = _by_root(a), _by_root(o)
    return [first, a + b, a - b, e + o, e - o, last]


def _by_root(x: Array) -> Array:
    """x / sqrt 2, rounded as pmulhrsw and sqrdmulh do."""
    found: Array = (x * ROOT_FACTOR + (1 << 14)) >> 15
    return found


def quantized_input(v: Array, factors: Array) -> Array:
    """Step 2 of the definition on V of int32 or int64; `factors` is (taps, C)."""
    rounded: Array = (v * factors.astype(v.dtype)[:, :, None] + (1 << 14)) >> 15
    return rounded.clip(-128, 127)


def transformed_output(real: Array, tall: int, wide: int) -> Array:
    """A^T F A of (taps, M, tiles) in float32: (m_h, m_w, M, tiles)."""
    square = real.reshape(tall + 2, wide + 2, *real.shape[1:])
    columns = _outputs(list(square))
    return np.stack([np.stack(_outputs(list(row))) for row in columns])


def _outputs(f: list[Array]) -> list[Array]:
    """A^T f along one axis: 4 values to 2, or 6 to 4."""
    s, d = f[1] + f[2], f[1] - f[2]
    if len(f) == 4:
        return [f[0] + s, d + f[3]]
    near, odd = f[3] + f[4], f[3] - f[4]
    last = (d + QUARTER * odd) + f[5]
    return [(f[0] + HALF * s) + near, (d + odd) * BY_ROOT, s + HALF * near, last * ROOT]


def _placed(op: Operator, tiles: Array) -> Array:
    """(m_h, m_w, M, tiles) as N x M x H x W."""
    n, filters = op.result.type.shape[:2]
    down, across = _axes(op)
    grid = tiles.reshape(*op["tile"], filters, n, down.count, across.count).transpose(3, 2, 4, 0, 5, 1)
    (rows, i), (columns, j) = (np.transpose(axis.owners) for axis in (down, across))
    return grid[:, :, rows[:, None], i[:, None], columns, j]


RULES: dict[str, Rule] = {"winograd_conv": winograd_conv}
