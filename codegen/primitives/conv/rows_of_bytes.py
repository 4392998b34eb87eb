"""Register tiles of bytes whose operands are streams, as those of floats are in `rows_by_element.py`.

A vector of the image is a block of 16 channels of a pixel, one of weights a quad of channels of some filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...targets.target import Target
from ...vector.dot import QUAD, Dot
from ...vector.requantize import BLOCK
from ...vector.streams import MOST, Stream, distance, held, last_load
from .arithmetic import Int8

Expr = Any
Buffer = Any

QUADS = BLOCK // QUAD  # of a block


@dataclass(frozen=True)
class RowsOfBytes(Int8):
    """By a step that takes any quad of a vector of four."""

    size = 1  # bytes of an element

    @property
    def peeled(self) -> bool:
        """Whether the first block is worth code of its own, where sums of nothing are not added to."""
        return self.dot.sums_anew

    def loads(self, pixels: Any, vectors: Any) -> Any:
        return pixels / QUADS + vectors

    def operands(
        self, data: tuple[Buffer, Expr], weights: tuple[Buffer, Expr], vectors: int
    ) -> OperandsOfBytes:
        return OperandsOfBytes(self, data, weights, vectors)


def bytes_by(dot: Dot, target: Target) -> Int8:
    """The arithmetic of such a step, by streams where the target has them."""
    streams = target.isa.streams and dot.streams
    return (RowsOfBytes if streams else Int8)(target.lanes, dot)


class OperandsOfBytes:
    """Streams of both operands of a register tile, from a byte of each on."""

    def __init__(
        self, arithmetic: RowsOfBytes, data: tuple[Buffer, Expr], weights: tuple[Buffer, Expr], vectors: int
    ) -> None:
        self.arithmetic, self.vectors = arithmetic, vectors
        self.data = Stream(*data, BLOCK, arithmetic.data)
        self.weights = Stream(*weights, BLOCK, arithmetic.weight)

    def step(self, pixels: int, apart: int) -> Expr:
        """A distance that `row` takes: `pixels` are read of each block, `apart` bytes from the last's."""
        return distance(apart - (pixels - last_load(pixels)) * BLOCK)

    def row(
        self,
        acc: Any,
        on: Expr,
        taps: Sequence[tuple[range, range]],
        skipped: int = 0,
        ask: tuple[int, int] | None = None,
    ) -> None:
        """Adds taps of a block of channels; see `rows_by_element.Operands.row`."""
        dot, vectors = self.arithmetic.dot, self.vectors
        read = [dot.taken(v, QUADS) for v in self.data.take(max(at[-1] for _, at in taps) + 1, on)]
        order = [(*tap, quad, v) for tap in taps for quad in range(QUADS) for v in range(vectors)]
        for first in range(0, len(order), MOST):
            chunk = order[first : first + MOST]
            last = skipped > 0 and first + MOST >= len(order)
            beyond = distance((len(chunk) + skipped * QUADS * vectors) * BLOCK) if last else None
            if ask is not None:
                self.weights.ask(*ask)
            weights = self.weights.take(len(chunk), beyond)
            self._multiply(acc, read, list(zip(chunk, weights, strict=True)))
            held(acc)

    def _multiply(self, acc: Any, read: Sequence[Any], chunk: Sequence[Any]) -> None:
        """Pixel by pixel, as what is made of its quad serves several vectors of filters."""
        dot, vectors = self.arithmetic.dot, self.vectors
        (pixels, at, _, _), _ = chunk[0]
        for r, column in zip(pixels, at, strict=True):
            begun: dict[int, Any] = {}
            for (_, _, quad, v), weights in chunk:
                if quad not in begun:
                    begun[quad] = dot.begun(read[column][quad])
                dot.accumulate(acc, r * vectors + v, begun[quad], (weights,))
