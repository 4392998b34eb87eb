"""Register tiles of pixels in pairs, by an instruction that multiplies matrices of bytes.

Two pixels' eight channels times two filters' eight are four sums in a register: [pixel][filter]. Outside of
the products a nest sees a vector of filters for each pixel; `opened` and `closed` lead from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...rounding import up
from ...targets.target import Target
from ...tir import Registers, T, fence, load, splat
from ...vector.dot import QUAD, dot_of
from ...vector.requantize import BLOCK
from ...vector.shuffles import hold
from ..specs import ConvSpec, layout_block
from .arithmetic import Arithmetic, Array, Buffer, Expr, Int8, arithmetic_of, deep_arithmetic
from .int8_spec import LinearSpec
from .rows_of_bytes import by_blocks, by_streams
from .sums_of_channels import by_channels

DEPTH = 8  # channels of an instruction
_TWO = 2  # pixels of it, and filters
_BYTES = _TWO * DEPTH
_SPARE = 3  # registers besides sums and pixels: two of weights, one in flight
_MOST_PAIRS = 5
_LOW, _HIGH = [0, 1, 4, 5], [2, 3, 6, 7]  # halves of two vectors side by side


@dataclass(frozen=True)
class MatrixInt8(Int8):
    """Eight channels a step: u8 data, i8 weights. `intrinsic` is the matrix product."""

    intrinsic: str = ""

    step = DEPTH
    depth = _TWO
    operations = 1.0
    preparation = 0.25
    prepares_weights = True
    rate = None
    at_once = _TWO
    unroll = _TWO

    @property
    def width(self) -> int:
        return DEPTH * self.lanes

    def loads(self, pixels: Any, vectors: Any) -> Any:
        return pixels / _TWO + _TWO * vectors

    def tile_pixels(self, registers: int, vectors: int) -> int:
        """Both steps' pixels are kept."""
        pairs = (registers - _SPARE) // (_TWO * vectors + _TWO)
        return _TWO * max(1, min(pairs, _MOST_PAIRS))

    def taken(self, pixels: int) -> int:
        """Whole pairs."""
        return pixels + pixels % _TWO

    def opened(self, acc: Any, vectors: int) -> Any:
        """[pair][vector][half of its filters]; a last pixel alone is its own neighbour."""
        pairs = -(-acc.count // (_TWO * vectors))
        tiles = Registers(_TWO * pairs * vectors, self.lanes, self.dtype)
        for pair, v in np.ndindex(pairs, vectors):
            first = pair * _TWO * vectors + v
            second = first + vectors if first + vectors < acc.count else first
            rows = [hold(acc[number], self.lanes, self.dtype) for number in (first, second)]
            for half, order in enumerate((_LOW, _HIGH)):
                tiles[self._tile(pair, v, vectors) + half] = T.Shuffle(rows, order)
        return tiles

    def closed(self, acc: Any, vectors: int) -> Any:
        """Also of a neighbour that is none."""
        sums = Registers(acc.count, self.lanes, self.dtype)
        for pair, v in np.ndindex(acc.count // (_TWO * vectors), vectors):
            tile = self._tile(pair, v, vectors)
            for pixel, order in enumerate((_LOW, _HIGH)):
                sums[(pair * _TWO + pixel) * vectors + v] = T.Shuffle([acc[tile], acc[tile + 1]], order)
        return sums

    def _tile(self, pair: int, vector: int, vectors: int) -> int:
        """The first of two registers."""
        return _TWO * (pair * vectors + vector)

    def multiply(
        self,
        acc: Any,
        data: tuple[Buffer, Mapping[int, Expr]],
        weights: tuple[Buffer, Expr],
        vectors: int,
        steps: int = 1,
    ) -> None:
        (source, elements), (packed, first) = data, weights
        rows = {
            pair: self._rows(source, elements, pair, steps) for pair in sorted({r // _TWO for r in elements})
        }
        for k in range(steps):
            start = first + k * vectors * self.width
            for v in range(vectors):
                for half in range(_TWO):
                    at = start + v * self.width + half * _BYTES
                    filters = hold(load(packed, at, _BYTES), _BYTES, "int8")
                    for pair, of_steps in rows.items():
                        tile = self._tile(pair, v, vectors) + half
                        acc[tile] = self._product(acc[tile], of_steps[k], filters)
            fence(packed, packed)

    def _product(self, total: Expr, rows: Expr, filters: Expr) -> Expr:
        return T.call_llvm_pure_intrin(f"int32x{self.lanes}", self.intrinsic, total, rows, filters)

    def _rows(self, source: Buffer, elements: Mapping[int, Expr], pair: int, steps: int) -> list[Expr]:
        """For each step, the channels of a pair's pixels; zeros for one that is not there."""
        count = steps * DEPTH
        pixels = [
            hold(
                load(source, elements[r], count) if r in elements else splat(0, count, "uint8"),
                count,
                "uint8",
            )
            for r in (_TWO * pair, _TWO * pair + 1)
        ]
        each = [[*range(k, k + DEPTH), *range(count + k, count + k + DEPTH)] for k in range(0, count, DEPTH)]
        joined = (T.reinterpret(f"int8x{_BYTES}", T.Shuffle(pixels, order)) for order in each)
        return [hold(value, _BYTES, "int8") for value in joined]

    def pack(self, weights: Array, vectors: int, block: int, filters: int) -> Array:
        """As every arithmetic: a filter's eight channels lie side by side, and filters one after another."""
        return Arithmetic.pack(self, weights, vectors, block, filters)


def tile_arithmetic(spec: ConvSpec, target: Target) -> Arithmetic:
    """`deep_arithmetic`, by matrices or blocks of streams where the instruction set has them."""
    return _by_matrices(spec, target) or by_blocks(deep_arithmetic(spec, target), spec, target)


def strip_arithmetic(spec: ConvSpec, target: Target) -> Arithmetic:
    """`arithmetic_of` copies, by streams or matrices where the instruction set has them.

    Bytes are copied less `copied_offset`; sums are of channels where blocks that meet are of one tap.
    """
    found = _by_matrices(spec, target) or by_streams(arithmetic_of(spec, target), target)
    if not isinstance(found, Int8) or not copied_offset(spec, target):
        return found
    summed: Int8 = found
    if isinstance(spec, LinearSpec) and up(spec.channels, QUAD) % (BLOCK * max(1, spec.room.signed)) == 0:
        summed = by_channels(found, spec.room, target)
    return replace(summed, dot=summed.dot.of_centred())


def copied_offset(spec: ConvSpec, target: Target) -> int:
    """What a copy for `strip_arithmetic` takes from bytes, whose products then need not do it."""
    if spec.element_bytes != 1 or _by_matrices(spec, target):
        return 0
    return dot_of(target, full=isinstance(spec, LinearSpec) and spec.full).offset


def _by_matrices(spec: ConvSpec, target: Target) -> MatrixInt8 | None:
    few = layout_block(spec.in_layout) < DEPTH
    if spec.element_bytes != 1 or spec.groups > 1 or few or not target.isa.matrix:
        return None
    return MatrixInt8(target.lanes, dot_of(target), target.isa.matrix)
