"""Weights as blocks of threads read them, and which schedule a matrix product has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...targets.target import Target
from .matrix_tile import MatrixTile, WmmaTile, matrix_candidates, order
from .tile import Tile, Work, candidates

Array = NDArray[Any]
_DEPTHS = (3, 4)
_SPLITS = (2, 3, 4, 6, 8, 12, 16)
_LEAST_STEPS = 4  # of a part of a sum
_FEW_BLOCKS = 4  # for each multiprocessor


@lru_cache(maxsize=1 << 14)
def best(work: Work, blocks: int, target: Target) -> Tile | None:
    """The fastest tile by the model, of equal ones that which multiplies least; None where none fits."""
    architecture = target.cuda.architecture
    matrix = matrix_candidates(work.filters, blocks, architecture) if work.matrix_rate else ()
    found = chain(matrix, candidates(work.filters, blocks, architecture))
    deep = (each for tile in found if tile.sums <= work.most_sums for each in deeper(tile, work, target))
    fit = (part for tile in deep for part in _split(tile, work, target))
    return min(fit, key=lambda tile: (work.seconds(tile, target), work.products(tile)), default=None)


def deeper(tile: Tile, work: Work, target: Target) -> Iterator[Tile]:
    """The tile, and the same with more steps in shared memory where its kernel copies, and as many fit."""
    yield tile
    for depth in _DEPTHS if work.deep and tile.copies else ():
        deeper = replace(tile, depth=depth)
        if deeper.resident(target.cuda.architecture) and work.steps >= depth * tile.blocks:
            yield deeper


def _split(tile: Tile, work: Work, target: Target) -> Iterator[Tile]:
    """The tile, and where its blocks are few the same for parts of sums, for which there must be memory."""
    yield tile
    if not work.spare_bytes or work.tasks(tile) >= _FEW_BLOCKS * target.gpu.multiprocessors:
        return
    steps = work.steps // tile.blocks
    for splits in _SPLITS:
        parted, most = replace(tile, splits=splits), -(-steps // splits)
        fits = work.partial_bytes(parted) <= work.spare_bytes
        if most >= _LEAST_STEPS and (splits - 1) * most < steps and fits:
            yield parted


def panels(tile: Tile, values: Array) -> Array:
    """(..., filter of a tile, word, element) as it is copied into shared memory."""
    if isinstance(tile, WmmaTile):
        return np.ascontiguousarray(values)
    if isinstance(tile, MatrixTile):
        return np.ascontiguousarray(values[..., order(tile.filters), :, :])
    return np.ascontiguousarray(np.swapaxes(values, -3, -2))
