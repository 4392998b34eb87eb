"""Weights of which some products with bytes add up to 16 bits, whatever the bytes are.

255 (127 + 127) leaves an int16. But where, of the weights whose products meet, the positive ones add up to
128 at most and so do the negative ones, no sum of them with bytes does: 255 * 128 = 32640 < 2^15, and with
signed bytes, -128 to 127, neither. Weights of 7 bits have that for two products. For four it is a property of
a layer: most weights of a network are small beside their filter's largest, so it costs little more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUAD = 4  # channels whose products one lane adds
MOST = 128  # that weights of one sign may add up to
DEPTHS = (2, 1)  # quads of channels that may meet
_BLOCK = 16  # channels


def met(weights: NDArray[Any], depth: int) -> NDArray[Any]:
    """The weights (M, C, ...) in sets of those whose products meet: (M, sets, weights of a set, ...).

    Of `depth` quads of neighbouring channels, the first two of each meet, and the last two. Channels are
    filled up to whole blocks with zeros.
    """
    filters, channels, *rest = weights.shape
    whole = -(-channels // _BLOCK) * _BLOCK
    padded = np.pad(weights, [(0, 0), (0, whole - channels), *[(0, 0)] * len(rest)])
    split = padded.reshape(filters, -1, depth, 2, QUAD // 2, *rest)
    return np.swapaxes(split, 2, 3).reshape(filters, -1, QUAD // 2 * depth, *rest)


def parted(sets: NDArray[Any], channels: int) -> NDArray[Any]:
    """The weights (M, C, ...) that `met` was given."""
    filters, _, size, *rest = sets.shape
    depth = size // (QUAD // 2)
    split = np.swapaxes(sets.reshape(filters, -1, 2, depth, QUAD // 2, *rest), 2, 3)
    return split.reshape(filters, -1, *rest)[:, :channels]


def room_of(weights: NDArray[np.int8]) -> int:
    """The most quads of channels whose products can be added in 16 bits; 0 for none."""
    for depth in DEPTHS:
        sets = met(weights, depth).astype(np.int16)
        if max(sets.clip(0).sum(2).max(initial=0), (-sets).clip(0).sum(2).max(initial=0)) <= MOST:
            return depth
    return 0
