"""What the transforms of floats take on cores with streams, counted from their matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from secateur.codegen.targets.target import Target

from ...specs import ConvSpec
from .arithmetic import FloatArithmetic
from .grid import TileGrid
from .matrix import Count, count

_PIPELINES = 2  # of vector operations
_HELD = 24  # vectors of a half transform that stay in registers
_AROUND = 8.0  # operations that begin and end a tile
_WAITING, _FIRST = 1.2, 32.0
"""Of the input's: times what must be started, and operations that the first ones take the time of."""
_BORDER, _BORDER_BY_ELEMENT = 1.5, 4.0
"""Cycles to copy a pixel of a tile at the border. All four are llvm-mca's on a Cortex-A72 and an A76."""
_BORDER_IN_ORDER = 5.0
"""Times as many in order, where comparisons and branches take as long as all else; on a Cortex-A53."""


@dataclass(frozen=True)
class Transform:
    """Of a vector's tile, both axes: operations, those that only copy, loads and stores."""

    arithmetic: int
    copies: int
    loads: int
    stores: int

    def cycles(self, target: Target, waiting: float = 1.0, first: float = 0.0) -> float:
        """Narrow pipelines multiply and add for longer than they copy and store; a core that starts in order
        does the one after the other."""
        around = _AROUND / target.fma_per_cycle
        if target.cpu.in_order:
            moved = self.copies + self.loads + self.stores
            return (self.arithmetic / target.fma_per_cycle + moved) * waiting + around
        computing = (self.arithmetic + first) * _PIPELINES / target.fma_per_cycle + self.copies
        started = (self.arithmetic + self.copies + self.stores) * waiting
        return max(computing, started) / _PIPELINES + around


def cycles_of(
    grid: TileGrid[ConvSpec], arithmetic: FloatArithmetic, scattered: bool, target: Target
) -> tuple[float, float]:
    """Of one vector's tile of the input, and of its products."""
    read, written = _transforms(grid.extent, grid.tile, arithmetic, scattered)
    copy = (_BORDER_BY_ELEMENT if scattered else _BORDER) * (_BORDER_IN_ORDER if target.cpu.in_order else 1)
    border = copy * grid.positions * (1 - prod(_whole(grid, axis, scattered) for axis in (0, 1)))
    return read.cycles(target, _WAITING, _FIRST) + border, written.cycles(target)


@lru_cache(maxsize=128)
def _transforms(
    extent: tuple[int, int], tile: tuple[int, int], arithmetic: FloatArithmetic, scattered: bool
) -> tuple[Transform, Transform]:
    """Where phases or channels are `scattered`, each pixel is a second load into half of a vector."""
    (high, broad), positions = extent, prod(extent)
    down, across = map(arithmetic.matrices, extent)
    read = _transform(count(down.b_t), broad, count(across.b_t), high, (positions,) * 3)
    if scattered:
        read = replace(read, arithmetic=read.arithmetic + positions)
    written = _transform(
        count(down.a_t), broad, count(across.a_t), tile[0], (positions, tile[0] * broad, prod(tile))
    )
    return read, written


def _transform(
    down: Count, columns: int, across: Count, rows: int, vectors: tuple[int, int, int]
) -> Transform:
    """Of so many vectors given, between the axes, and of the result."""
    given, half, whole = vectors
    again = max(0, half - _HELD)
    return Transform(
        down.arithmetic * columns + across.arithmetic * rows,
        down.copies * columns + across.copies * rows,
        given + again,
        again + whole,
    )


def _whole(grid: TileGrid[ConvSpec], axis: int, scattered: bool) -> float:
    """The share of tiles, along an axis, that read nothing outside of the image."""
    spec = grid.spec
    size, stride = (spec.height, spec.width)[axis], spec.strides[axis]
    read = (grid.extent[axis] - 1) * stride + (stride if scattered else 1)
    tiles = (grid.down, grid.across)[axis]
    starts = (tiles.start(at) * stride - spec.pads[axis] for at in range(tiles.count))
    return sum(start >= 0 and start + read <= size for start in starts) / tiles.count
