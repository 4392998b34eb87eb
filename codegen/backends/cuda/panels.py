"""Weights as blocks of threads read them, and which schedule a matrix product has."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...targets.target import Target
from .matrix_tile import MatrixTile, WmmaTile, matrix_candidates, order
from .tile import Tile, Work, candidates

Array = NDArray[Any]


def best(work: Work, blocks: int, target: Target) -> Tile | None:
    """The fastest tile by the model, of equal ones that which multiplies least; None where none fits."""
    architecture = target.cuda.architecture
    matrix = matrix_candidates(work.filters, blocks, architecture) if work.matrix_rate else ()
    found = chain(matrix, candidates(work.filters, blocks, architecture))
    fit = (tile for tile in found if tile.sums <= work.most_sums)
    return min(fit, key=lambda tile: (work.seconds(tile, target), work.products(tile)), default=None)


def panels(tile: Tile, values: Array) -> Array:
    """(..., filter of a tile, word, element) as it is copied into shared memory."""
    if isinstance(tile, WmmaTile):
        return np.ascontiguousarray(values)
    if isinstance(tile, MatrixTile):
        return np.ascontiguousarray(values[..., order(tile), :, :])
    return np.ascontiguousarray(np.swapaxes(values, -3, -2))
