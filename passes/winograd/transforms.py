"""Winograd's transforms of samples (taps, channels, tiles) and weights (taps, filters, channels)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from secateur.ir.reference.winograd import transformed_input
from secateur.ir.root_two import root_two
from secateur.ir.winograd import winograd

Floats = NDArray[Any]
Tile = tuple[int, int]


def most_tiles(channels: int) -> int:
    """So many tiles that they take bounded memory, and more than there are channels."""
    return min(4096, max(1024, (1 << 18) // channels))


def axis_matrices(outputs: int) -> tuple[Floats, Floats, Floats]:
    """A^T, G and B^T of F(outputs, 3) along one axis, as `q.winograd_conv` has them."""
    if outputs == 4:
        exact = root_two()
        return _array(exact.a_t), _array(exact.g), _array(exact.b_t)
    plain = winograd(outputs)
    return _array(plain.a_t), _array(plain.g), _array(plain.b_t)


def _array(matrix: Sequence[Sequence[SupportsFloat]]) -> Floats:
    return np.array([[float(v) for v in row] for row in matrix])


@cache
def matrices(tile: Tile) -> tuple[Floats, Floats, Floats]:
    """A^T (outputs, taps), G (taps, 9), B^T (taps, taps) that act on flattened tiles."""
    a_t, g, b_t = (np.kron(d, a) for d, a in zip(axis_matrices(tile[0]), axis_matrices(tile[1]), strict=True))
    return a_t, g, b_t


def sample_tiles(samples: NDArray[np.uint8], tile: Tile, zero: int) -> NDArray[np.int32]:
    """Input tiles of patches (N, C, h, w), at any place, less the zero point: (positions, C, tiles).

    At most `most_tiles`, evenly spread. ValueError where a patch holds no tile.
    """
    tall, wide = tile[0] + 2, tile[1] + 2
    n, c, h, w = samples.shape
    if h < tall or w < wide:
        raise ValueError(f"patches of {h} x {w} hold no tile of {tall} x {wide}")
    places = n, h - tall + 1, w - wide + 1
    count = int(np.prod(places))
    chosen = np.unique(np.linspace(0, count - 1, most_tiles(c)).astype(int))
    image, down, across = np.unravel_index(chosen, places)
    windows = np.lib.stride_tricks.sliding_window_view(samples, (tall, wide), (2, 3))
    found = windows[image, :, down, across].transpose(2, 3, 1, 0)  # from (tiles, C, tall, wide)
    return found.reshape(tall * wide, c, -1).astype(np.int32) - zero


def transformed_samples(tiles: NDArray[np.int32], tile: Tile) -> NDArray[np.int32]:
    """V = B^T d B as the operator computes it, whole numbers of 16 bits."""
    square = tiles.reshape(tile[0] + 2, tile[1] + 2, *tiles.shape[1:])
    return transformed_input(square)


def transformed_weights(weights: NDArray[Any], tile: Tile) -> Floats:
    """U = G g G^T of (M, C, 3, 3)."""
    flat = weights.astype(np.float64).reshape(*weights.shape[:2], 9)
    found: Floats = np.tensordot(matrices(tile)[1], flat, (1, 2)).astype(np.float32)
    return found
