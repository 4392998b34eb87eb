"""What follows the products of a `q.winograd_conv` whose `results` are words: whole numbers of 16 bits.

Of P, the products summed over channels in int32, for each tap and filter:

1. x = (P + 2^(s-1)) >> s, limited to 16 bits. s, from 1 to 16, is one number for all taps and filters, the
   largest for which every factor m = round(scale 2^(18+s)) has `factor_bits`; larger ones are limited.
2. f = (x m + 2^14) >> 15, in eighths of a step of the result.
3. A^T f A down the columns first, in the order of `_outputs`, halves and quarters rounded down, every sum
   limited to 16 bits; with factors of 13 bits no sum down a column is larger. An axis of 4 outputs has those
   in multiples of 1, sqrt 2, 1 and 1/sqrt 2.
4. A pixel is in multiples of its axes' product. One with a root is divided by sqrt 2, which is
   (23170 y + 2^14) >> 15; then 2, 3 or 4 bits are of a fraction. The bias and the zero point, rounded to
   these and limited to 16 bits, are added, then the residual: of its r, less its zero point, it is
   (2^7 r n + 2^14) >> 15 with n = round(2^(8+bits) times its scale by the result's), limited to 16 bits. Sums
   are limited, rounded to the nearest with halves up, and limited to the result's bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..graph import Operator
from ..ops.linear import one_quant, residual_multiplier
from .linear import along_channels, centred

Array = NDArray[Any]

MOST_WORD = (1 << 15) - 1
BITS = 3  # of a fraction that f has
PLACES = 15  # of a factor's
MOST_SHIFT = 16
RESIDUAL = 5  # its number among the operands
ROOT_FACTOR = 23170  # 2^15 / sqrt 2
_MAGNITUDES = {
    2: np.array([[1, 1, 1, 0], [0, 1, 1, 1]]),
    4: np.array(
        [[1, 0.5, 0.5, 1, 1, 0], [0, 1, 1, 1, 1, 0], [0, 1, 1, 0.5, 0.5, 0], [0, 1, 1, 0.25, 0.25, 1]]
    ),
}
"""Of A^T without roots."""


class Factors(NamedTuple):
    """s, and m of each tap and filter; `exact` tells that none had to be limited."""

    shift: int
    numbers: NDArray[np.int16]  # (taps, M)
    exact: bool


class Ending(NamedTuple):
    """Whether a pixel's sum is divided by sqrt 2, and how many bits of it then are of a fraction."""

    root: bool
    bits: int

    @property
    def worth(self) -> float:
        """What a unit of the sum is in steps of the result."""
        return float(0.5 ** (self.bits + 0.5 * self.root))


def word_factors(scales: NDArray[np.float32], bits: int) -> Factors:
    """Of scales (taps, M) in steps of the result."""
    real, most = scales.astype(np.float64) * 2.0 ** (BITS + PLACES), (1 << bits) - 1
    largest = np.abs(real).max(initial=0.0)
    fitting = [s for s in range(1, MOST_SHIFT + 1) if np.rint(largest * 2.0**s) <= most]
    shift = fitting[-1] if fitting else 1
    numbers = np.rint(real * 2.0**shift).clip(-most, most)
    return Factors(shift, numbers.astype(np.int16), bool(fitting))


def columns_fit(numbers: NDArray[np.int16], tile: Sequence[int]) -> bool:
    """Whether no sum down a column can leave 16 bits, whatever x is, with such factors (taps, M)."""
    largest = np.abs(numbers.astype(np.float64)).reshape(tile[0] + 2, tile[1] + 2, -1)
    return float(np.tensordot(_MAGNITUDES[tile[0]], largest, 1).max()) <= MOST_WORD - 2


def endings(tile: Sequence[int]) -> list[list[Ending]]:
    """Of each pixel of a tile, by row and column."""
    down, across = ((0, 0) if outputs == 2 else (0, -1, 0, 1) for outputs in tile)
    return [[Ending((a + b) % 2 == 1, BITS - (a + b + 1) // 2) for b in across] for a in down]


def word_bias(bias: NDArray[np.float32], zero_point: int, bits: int) -> NDArray[np.int16]:
    """Bias (M,), in steps of the result, and zero point as words with so many bits of a fraction."""
    return _limited(np.rint((bias.astype(np.float64) + zero_point) * 2.0**bits)).astype(np.int16)


def residual_factor(op: Operator, bits: int) -> int:
    """n, where pixels have so many bits of a fraction."""
    return min(MOST_WORD, round(float(residual_multiplier(op, RESIDUAL)) * 2.0 ** (8 + bits)))


def words(tile: Sequence[int], factor_bits: int, products: Array, scales: Array) -> tuple[Array, Array]:
    """Sums of pixels, as they are without roots, and their bits, of whole products (taps, M, tiles).

    Both are (m_h, m_w, M, tiles).
    """
    tall, wide = tile
    shift, factors, _ = word_factors(scales, factor_bits)
    x = _limited((products.astype(np.int64) + (1 << shift >> 1)) >> shift)
    f = (x * factors.astype(np.int64)[:, :, None] + (1 << 14)) >> PLACES
    columns = _outputs(list(f.reshape(tall + 2, wide + 2, *f.shape[1:])))
    rows = [_outputs(list(column)) for column in columns]
    sums, how = np.stack([np.stack(row) for row in rows]), endings(tile)
    roots = np.array([[end.root for end in row] for row in how])[:, :, None, None]
    bits = np.array([[end.bits for end in row] for row in how])[:, :, None, None]
    by_root = (sums * ROOT_FACTOR + (1 << 14)) >> PLACES
    return np.where(roots, by_root, sums), np.broadcast_to(bits, sums.shape)


def ended(op: Operator, sums: Array, bits: Array, bias: Array, residual: Array | None) -> Array:
    """The result of sums and their bits where their pixels are, all N x M x H x W."""
    (low, high), zero = op["limits"], one_quant(op.result.type)[1]
    added = None if residual is None else centred(op, RESIDUAL, residual) << 7
    found = np.zeros(sums.shape, np.uint8)
    for n in map(int, np.unique(bits)):
        total = _limited(sums + along_channels(word_bias(bias, zero, n), 4))
        if added is not None:
            total = _limited(total + ((added * residual_factor(op, n) + (1 << 14)) >> PLACES))
        rounded = ((total + (1 << n >> 1)) >> n).clip(low, high)
        found = np.where(bits == n, rounded, found).astype(np.uint8)
    return found


def _outputs(f: Sequence[Array]) -> list[Array]:
    """A^T f along one axis but for roots: 4 values to 2, or 6 to 4."""
    near, odd = _limited(f[1] + f[2]), _limited(f[1] - f[2])
    if len(f) == 4:
        return [_limited(f[0] + near), _limited(odd + f[3])]
    far, wide = _limited(f[3] + f[4]), _limited(f[3] - f[4])
    return [
        _limited(_limited(f[0] + (near >> 1)) + far),
        _limited(odd + wide),
        _limited(near + (far >> 1)),
        _limited(_limited(odd + (wide >> 2)) + f[5]),
    ]


def _limited(values: Array) -> Array:
    """To 16 bits."""
    found: Array = values.clip(-1 - MOST_WORD, MOST_WORD)
    return found
