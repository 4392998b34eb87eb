"""Weights of which some products with bytes add up to 16 bits, whatever the bytes are.

255 (127 + 127) leaves an int16. But where, of the weights whose products meet, the positive ones add up to
128 at most and so do the negative ones, no sum of them with bytes does: 255 * 128 = 32640 < 2^15. With
signed bytes, -128 to 127, all together may add up to 255: 128 * 255 = 32640. Weights of 7 bits have the first
for two products. For four it is a property of a layer: most weights of a network are small beside their
filter's largest, so it costs little more, and the second next to nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

QUAD = 4  # channels whose products one lane adds
BLOCK = 16  # channels


class Room(NamedTuple):
    """What may meet, 0 for nothing: `unsigned` quads of channels, whose products with unsigned bytes fit 16
    bits, or `signed` blocks of 16 channels, with signed bytes."""

    unsigned: int = 0
    signed: int = 0


NO_ROOM = Room()
QUADS = (2, 1)
"""That may meet."""
BLOCKS = (4, 3, 2)
"""Of `BLOCK` channels that may meet."""
MOST = 128
"""What weights of one sign that meet may add up to, with unsigned bytes."""
MOST_SIGNED = 255
"""What all that meet may, with signed ones."""


def met(weights: NDArray[Any], depth: int) -> NDArray[Any]:
    """The weights (M, C, ...) in sets of those whose products meet: (M, sets, weights of a set, ...).

    Of `depth` quads of neighbouring channels, the first two of each meet, and the last two. Channels are
    filled up to whole blocks with zeros.
    """
    filters, _, *rest = weights.shape
    split = _in_blocks(weights, 1).reshape(filters, -1, depth, 2, QUAD // 2, *rest)
    return np.swapaxes(split, 2, 3).reshape(filters, -1, QUAD // 2 * depth, *rest)


def _in_blocks(weights: NDArray[Any], blocks: int) -> NDArray[Any]:
    """Filled up to whole blocks of channels."""
    _, channels, *rest = weights.shape
    whole = -(-channels // (BLOCK * blocks)) * (BLOCK * blocks)
    return np.pad(weights, [(0, 0), (0, whole - channels), *[(0, 0)] * len(rest)])


def parted(sets: NDArray[Any], channels: int) -> NDArray[Any]:
    """The weights (M, C, ...) that `met` was given."""
    filters, _, size, *rest = sets.shape
    depth = size // (QUAD // 2)
    split = np.swapaxes(sets.reshape(filters, -1, 2, depth, QUAD // 2, *rest), 2, 3)
    return split.reshape(filters, -1, *rest)[:, :channels]


def met_signed(weights: NDArray[Any], blocks: int) -> NDArray[Any]:
    """The same of `blocks` neighbouring blocks: of each the channels j and j + 8."""
    filters, _, *rest = weights.shape
    split = _in_blocks(weights, blocks).reshape(filters, -1, blocks * 2, BLOCK // 2, *rest)
    return np.swapaxes(split, 2, 3).reshape(filters, -1, blocks * 2, *rest)


def parted_signed(sets: NDArray[Any], channels: int) -> NDArray[Any]:
    """The weights (M, C, ...) that `met_signed` was given."""
    filters, _, size, *rest = sets.shape
    split = np.swapaxes(sets.reshape(filters, -1, BLOCK // 2, size, *rest), 2, 3)
    return split.reshape(filters, -1, *rest)[:, :channels]


def blocks_of(channels: int) -> tuple[int, ...]:
    """How many blocks may meet where there are so many channels: parts of their number, the most first."""
    count = -(-channels // BLOCK)
    return tuple(blocks for blocks in BLOCKS if count % blocks == 0)


def room_of(weights: NDArray[np.int8]) -> Room:
    """The most that can be added in 16 bits."""
    unsigned = (depth for depth in QUADS if _fits(met(weights, depth), MOST))
    signed = (b for b in blocks_of(weights.shape[1]) if _fits_signed(met_signed(weights, b)))
    return Room(next(unsigned, 0), next(signed, 0))


def domain_room(weights: NDArray[np.int8]) -> Room:
    """Of weights (taps, M, C) in the Winograd domain."""
    return room_of(weights.reshape(-1, weights.shape[2]))


def _fits(sets: NDArray[np.int8], most: int) -> bool:
    sides = (np.maximum(side, 0).sum(2, dtype=np.int32) for side in (sets, -sets.astype(np.int16)))
    return all(int(side.max(initial=0)) <= most for side in sides)


def _fits_signed(sets: NDArray[np.int8]) -> bool:
    return int(np.abs(sets.astype(np.int16)).sum(2, dtype=np.int32).max(initial=0)) <= MOST_SIGNED
