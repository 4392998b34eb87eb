"""Register tiles of bytes whose operands are streams, as those of floats are in `rows_by_element.py`.

A vector of the image is a block of 16 channels of a pixel, one of weights a quad of channels of some filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...rounding import up
from ...targets.target import Target
from ...vector.dot import QUAD, Dot, Signed
from ...vector.requantize import BLOCK
from ...vector.streams import MOST, Stream, distance, held, last_load
from ..specs import ConvSpec, layout_block
from .arithmetic import Arithmetic, Int8

Expr = Any
Buffer = Any

QUADS = BLOCK // QUAD  # of a block


@dataclass(frozen=True)
class RowsOfBytes(Int8):
    """By a step that takes any quad of a vector of four."""

    dot: Signed

    size = 1  # bytes of an element
    begins_anew = False  # whether sums of a register tile start with nothing

    @property
    def peeled(self) -> bool:
        """Whether the first block is worth code of its own, where sums of nothing are not added to."""
        return self.dot.sums_anew

    def loads(self, pixels: Any, vectors: Any) -> Any:
        return self.depth * (pixels / QUADS + vectors)

    def multiply(
        self,
        acc: Any,
        data: tuple[Buffer, Mapping[int, Expr]],
        weights: tuple[Buffer, Expr],
        vectors: int,
        steps: int = 1,
    ) -> None:
        """Of a whole block, or step by step."""
        if steps != QUADS:
            super().multiply(acc, data, weights, vectors, steps)
            return
        source, places = data
        pixels = {r: self.elements(source, index, QUADS) for r, index in places.items()}
        WeightsOfBytes(self, weights, vectors).tap(acc, pixels)

    def pixel(self, data: Buffer, place: Expr, apart: int) -> Any:
        """What is prepared of a pixel's blocks of a step, which lie `apart` bytes from each other."""
        return self.elements(data, place, QUADS)

    def onward(self, pixels: int, apart: int) -> Expr:
        """A distance that `OperandsOfBytes.row` takes: `pixels` are read of each block, `apart` bytes on.

        It is made here, once for all tiles that follow.
        """
        return distance(apart - (pixels - last_load(pixels)) * BLOCK)

    def weights_of(self, weights: tuple[Buffer, Expr], vectors: int) -> WeightsOfBytes:
        return WeightsOfBytes(self, weights, vectors)

    def operands(
        self, data: tuple[Buffer, Expr], weights: tuple[Buffer, Expr], vectors: int
    ) -> OperandsOfBytes:
        return OperandsOfBytes(self, data, weights, vectors)


def bytes_by(dot: Dot, target: Target) -> Int8:
    """The arithmetic of such a step, by streams where the target has them; not for matrices (`matrix.py`)."""
    if target.isa.streams and isinstance(dot, Signed):
        return RowsOfBytes(target.lanes, dot)
    return Int8(target.lanes, dot)


def by_streams(arithmetic: Arithmetic, target: Target) -> Arithmetic:
    """The same, of bytes by streams where the target has them."""
    return bytes_by(arithmetic.dot, target) if isinstance(arithmetic, Int8) else arithmetic


def by_blocks(arithmetic: Arithmetic, spec: ConvSpec, target: Target) -> Arithmetic:
    """`by_streams` where a tile multiplies whole blocks of channels."""
    whole = layout_block(spec.in_layout) == BLOCK and up(spec.channels, QUAD) % BLOCK == 0
    return by_streams(arithmetic, target) if whole and spec.groups == 1 and not spec.wide else arithmetic


class WeightsOfBytes:
    """A stream of weights, from a byte on: for each tap of a block `vectors` of every quad."""

    def __init__(self, arithmetic: RowsOfBytes, weights: tuple[Buffer, Expr], vectors: int) -> None:
        self.arithmetic, self.dot, self.vectors = arithmetic, arithmetic.dot, vectors
        self.stream = Stream(*weights, BLOCK, arithmetic.weight)

    def tap(
        self, acc: Any, pixels: Mapping[int, Any], skipped: int = 0, ask: tuple[int, int] | None = None
    ) -> None:
        """Adds a block's products with the next tap's weights: of each pixel what its quads were prepared to.

        `skipped` taps after it have weights and no pixels; `ask` is as of `rows_by_element.Operands.row`.
        """
        order = [(quad, v) for quad in range(QUADS) for v in range(self.vectors)]
        for first in range(0, len(order), MOST):
            chunk = order[first : first + MOST]
            beyond = (
                distance((MOST + skipped * len(order)) * BLOCK)
                if skipped and chunk[-1] == order[-1]
                else None
            )
            if ask is not None:
                self.stream.ask(*ask)
            self._multiply(acc, pixels, list(zip(chunk, self.stream.take(MOST, beyond), strict=True)))
            held(acc)

    def _multiply(self, acc: Any, pixels: Mapping[int, Any], chunk: Sequence[tuple[Any, Expr]]) -> None:
        """Pixel by pixel, as what is made of its quad serves several vectors of filters."""
        for r, quads in pixels.items():
            begun: dict[int, Any] = {}
            for (quad, v), weights in chunk:
                if quad not in begun:
                    begun[quad] = self.dot.begun(quads[quad])
                self.dot.accumulate(acc, r * self.vectors + v, begun[quad], (weights,))


class OperandsOfBytes:
    """Streams of both operands of a register tile, from a byte of each on."""

    def __init__(
        self, arithmetic: RowsOfBytes, data: tuple[Buffer, Expr], weights: tuple[Buffer, Expr], vectors: int
    ) -> None:
        self.dot, self.data = arithmetic.dot, Stream(*data, BLOCK, arithmetic.data)
        self.weights = arithmetic.weights_of(weights, vectors)

    def row(
        self, acc: Any, on: Expr, taps: Sequence[tuple[range, range]], ask: tuple[int, int] | None = None
    ) -> None:
        """Adds taps of a block of channels; see `rows_by_element.Operands.row`."""
        read = [self.dot.taken(v, QUADS) for v in self.data.take(max(at[-1] for _, at in taps) + 1, on)]
        for pixels, at in taps:
            self.weights.tap(acc, {r: read[c] for r, c in zip(pixels, at, strict=True)}, ask=ask)
