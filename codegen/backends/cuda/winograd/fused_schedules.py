"""Which schedules of the one kernel there are, and which is the fastest by the model."""

from __future__ import annotations

from collections.abc import Iterator

from ....targets.machine import Architecture
from ....targets.target import Target
from ..matrix_tile import ROWS
from .fused_matrix_tile import MatrixFusedTile, WmmaFusedTile
from .fused_tile import FusedTile
from .layer import Layer

_MOST_WASTE = 1.2  # times the tiles there are
_SHAPES = (
    (28, 64, 7, 8),
    (28, 32, 7, 4),
    (16, 64, 4, 8),
    (16, 32, 4, 4),
    (32, 32, 8, 4),
    (8, 64, 2, 8),
    (8, 64, 4, 4),
    (10, 64, 5, 4),
    (4, 64, 2, 4),
)
_SHAPES_OF_FEW = ((32, 16, 4, 4), (56, 16, 7, 4))
_WARPS = {16: (8, 16), 24: (8, 12), 36: (9, 12)}
_MATRIX_SHAPES = {  # tiles, filters, warps that multiply and that transform
    16: ((16, 128, 8, 4), (16, 64, 8, 4), (8, 128, 8, 4), (32, 32, 8, 4), (8, 64, 8, 4), (16, 32, 8, 4)),
    24: ((16, 64, 8, 4), (32, 32, 8, 4), (8, 128, 8, 4), (8, 64, 8, 4), (16, 32, 8, 4)),
    36: ((16, 64, 9, 3), (32, 32, 9, 3), (8, 128, 9, 3), (16, 32, 12, 4), (8, 64, 12, 4)),
}


def candidates(layer: Layer, architecture: Architecture) -> list[FusedTile]:
    """Schedules that fit; of these the ones whose blocks are full, if there are any.

    Where the model sees no difference, what is multiplied for nothing still takes energy.
    """
    found = list(_fitting(layer, architecture))
    full = [tile for tile in found if tile.multiplied(layer) <= _MOST_WASTE * layer.tiles * layer.filters]
    return full or found


def _fitting(layer: Layer, architecture: Architecture) -> Iterator[FusedTile]:
    """Schedules that divide the filters, and fit, where four bytes times four is one instruction."""
    if not architecture.dot:
        return
    for tile in (*_by_dots(layer.positions), *_by_matrices(layer, architecture)):
        if layer.filters % tile.filters == 0 and tile.resident(architecture):
            yield tile


def _by_dots(positions: int) -> Iterator[FusedTile]:
    for shape in (*_SHAPES, *_SHAPES_OF_FEW):
        for warps in _WARPS[positions]:
            yield FusedTile(positions, *shape, warps)


def _by_matrices(layer: Layer, architecture: Architecture) -> Iterator[FusedTile]:
    if not architecture.matrix:
        return
    for tiles, filters, warps, readers in _MATRIX_SHAPES[layer.positions]:
        sizes = (layer.positions, tiles, filters, tiles, filters, warps, readers)
        if architecture.matrix == "mma":
            yield from (MatrixFusedTile(*sizes, step) for step in (2, 1) if layer.blocks % step == 0)
        else:
            yield from (
                WmmaFusedTile(*sizes, tall=tall) for tall in (False, True) if tall or tiles % ROWS == 0
            )


def fastest(layer: Layer, target: Target) -> FusedTile | None:
    """By the model, of equal ones that which multiplies least; None where none fits."""
    found = candidates(layer, target.cuda.architecture)
    return min(found, key=lambda tile: (tile.seconds(layer, target), tile.multiplied(layer)), default=None)
