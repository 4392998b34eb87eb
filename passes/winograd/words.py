"""When a convolution in the Winograd domain ends in words of 16 bits, and what these lose.

See `ir/reference/words.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import residual_multiplier
from secateur.ir.reference.words import MOST_WORD, endings, word_factors

from .transforms import Tile

Floats = NDArray[Any]

_FACTOR_BITS = 13, 14, 15  # with fewer, sums down a column need no limits
_SPARE = 1.25  # times what sums reach on samples
_MOST_STEPS = 8.0  # of a result, that one of a residual is worth
_MOST_TILES = 256  # that are looked at, those of the largest inputs
_LESS = {2: (0.0, 0.0), 4: (0.25, 0.0, 0.25, 0.375)}
"""What rounding down takes off each output of an axis on average, in units of f."""
_PASSED_ON = {2: (3, 1), 4: (4, 0, 3, 1)}
"""How often each output of a row counts that of its columns."""


def may_end_in_words(op: Operator) -> bool:
    """Whether a q.linear_conv gives bytes, and adds no residual of far larger steps."""
    if op.result.type.quant is None:
        return False
    return len(op.operands) == 3 or float(residual_multiplier(op, 3)) < _MOST_STEPS


def factor_bits(stored: NDArray[np.int8], q: Floats, scales: NDArray[np.float32]) -> int:
    """The fewest bits of factors with which sums somewhat above those of samples fit words, 0 for none.

    Weights are (taps, M, C), quantized inputs (taps, C, tiles), scales (taps, M) in steps of the result.
    """
    largest = np.argsort(np.square(q).sum((0, 1)))[-_MOST_TILES:]
    reach = float(np.abs(stored.astype(np.float32) @ q[:, :, largest]).max(initial=0.0))
    for bits in _FACTOR_BITS:
        shift, _, exact = word_factors(scales, bits)
        if exact and _SPARE * reach <= MOST_WORD * 2.0**shift:
            return bits
    return 0


def lost(tile: Tile) -> float:
    """What roundings take off a result on average over a tile, in steps."""
    (tall, wide), how = tile, endings(tile)
    less = [
        (_LESS[tall][i] * _PASSED_ON[wide][j] + _LESS[wide][j]) * end.worth - 0.5 / 2**end.bits
        for i, row in enumerate(how)
        for j, end in enumerate(row)
    ]
    return float(np.mean(less))
