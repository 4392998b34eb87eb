"""Winograd's 3x3 convolution of bytes in whole numbers, equal to the direct sums to the bit.

Along one axis, F(2, 3), F(4, 3) and F(3, 4), of four taps, with every matrix a whole one:

    scale_i s_i = (A^T [(G g) * (B^T d)])_i        s_i = sum over k of d_(i+k) g_k

where `scale_i` is 2 for F(2, 3), and 24, 12, 6, 6 for the others: an odd number times a power of two. Applied
to rows and columns, the sums come out times scale_i scale_j. Product number 1 reaches every result, as
scale_i is of all i the same multiple of A^T's: what is added there, times it, is added to all. Where is
there room?

* d = x - zero point is within 255, and B^T d B, where rows of B^T add up to 2 or 10, within 255 * 10^2 =
  25500: int16. Sums on the way are parts of a row's, and smaller.
* G g G^T, whose rows of G add up to at most 3, 7 or 15, is within 128 * 15^2 = 28800: int16, a pair of
  products within 2^31.
* Everything after that is a ring: int32 may wrap. Modulo 2^32 the odd factor has an inverse, whose product
  with the result is 2^e s; shifted by e it is s itself if |s| < 2^(31 - e), which depends on the weights
  alone. For F(4x4) e is at most 6: s is below 2^25, which a filter of 512 channels keeps unless its
  weights are as large as they can be all over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Integers:
    """F(outputs, taps) along one axis: `g` (products, taps), and scale_i = odd * 2^shifts[i]."""

    outputs: int
    a_t: Rows
    g: Rows
    b_t: Rows
    odd: int
    shifts: tuple[int, ...]

    @property
    def taps(self) -> int:
        return len(self.g[0])

    @property
    def shared(self) -> int:
        """What product number 1 takes for 1 in every result."""
        return (self.odd << self.shifts[0]) // self.a_t[0][1]


_TWO = Integers(
    2,
    a_t=((1, 1, 1, 0), (0, 1, -1, 1)),
    g=((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2)),
    b_t=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
    odd=1,
    shifts=(1, 1),
)
_FOUR = Integers(
    4,
    a_t=((1, 4, 4, 1, 1, 0), (0, 2, -2, 1, -1, 0), (0, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 1)),
    g=((6, 0, 0), (-1, -1, -1), (-1, 1, -1), (1, 2, 4), (1, -2, 4), (0, 0, 6)),
    b_t=((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0),
         (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1)),
    odd=3,
    shifts=(3, 2, 1, 1),
)  # fmt: skip
_THREE = Integers(
    3,
    a_t=((1, 4, 4, 1, 1, 0), (0, 2, -2, 1, -1, 0), (0, 1, 1, 1, 1, 1)),
    g=((6, 0, 0, 0), (-1, -1, -1, -1), (-1, 1, -1, 1), (1, 2, 4, 8), (1, -2, 4, -8), (0, 0, 0, 6)),
    b_t=_FOUR.b_t,
    odd=3,
    shifts=(3, 2, 1),
)  # fmt: skip
INTEGERS = {2: _TWO, 3: _THREE, 4: _FOUR}
"""By outputs."""


@dataclass(frozen=True)
class Ends:
    """How sums of a tile (down, across) become what they are of."""

    tile: tuple[int, int]

    @cached_property
    def inverse(self) -> int:
        """Of both odd factors, modulo 2^32, as an int32."""
        found = pow(INTEGERS[self.tile[0]].odd * INTEGERS[self.tile[1]].odd, -1, 1 << 32)
        return found - (1 << 32) if found >= 1 << 31 else found

    def shift(self, row: int, column: int) -> int:
        return INTEGERS[self.tile[0]].shifts[row] + INTEGERS[self.tile[1]].shifts[column]

    @property
    def shared(self) -> int:
        """What product (1, 1) takes for 1 in every result."""
        return INTEGERS[self.tile[0]].shared * INTEGERS[self.tile[1]].shared

    @cached_property
    def limit(self) -> int:
        """Every sum's magnitude has to be below this."""
        return int(1 << (31 - self.shift(0, 0)))


def largest_sum(weights: Array, zero_point: int) -> int:
    """The largest magnitude of a sum of (x - zero point) w over any bytes x; weights are (filters, ...)."""
    wide = weights.reshape(len(weights), -1).astype(np.int64)
    positive, negative = wide.clip(0).sum(1), -wide.clip(None, 0).sum(1)
    above, below = 255 - zero_point, zero_point
    return int(np.maximum(above * positive + below * negative, above * negative + below * positive).max())


def transformed(weights: Array, tile: tuple[int, int]) -> NDArray[np.int16]:
    """G g G^T of int8 (M, C, taps, taps): (positions, C, M)."""
    down, across = (np.array(INTEGERS[m].g) for m in tile)
    spread = np.einsum("ia,mcab,jb->ijcm", down, weights.astype(np.int64), across, optimize=True)
    found: NDArray[np.int16] = spread.reshape(-1, *spread.shape[2:]).astype(np.int16)
    return found
