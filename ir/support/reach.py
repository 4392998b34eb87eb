"""A last operand that is added at a range of channels: what is left of a skip connection in a pruned block.

The attribute `reach` of a convolution: channels `at` to `at + count` of the result take those of the last
operand from `source` on. All others are as if it were zero (its zero point, where quantized) there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Reach:
    """Channels `at` to `at + count` of a result meet those from `source` on of the `width` of an operand."""

    at: int
    source: int
    count: int
    width: int

    @property
    def end(self) -> int:
        """The first channel of the result behind the range."""
        return self.at + self.count

    @property
    def shift(self) -> int:
        """How much further a channel lies in the operand than in the result."""
        return self.source - self.at

    def fits(self, channels: int) -> bool:
        """Whether the range lies in a result of so many channels, and in the operand."""
        inside = 0 <= self.at < self.end <= channels and self.source >= 0
        return inside and self.source + self.count <= self.width


def reach_of(given: Sequence[int], operand: Sequence[int]) -> Reach | None:
    """An attribute's, for an operand of that shape; None for an operand that is added to every channel."""
    return ranged(given, operand[1]) if given else None


def ranged(given: Sequence[int], width: int) -> Reach:
    """An attribute's, for an operand of so many channels."""
    at, source, count = given
    return Reach(at, source, count, width)


def reached(arrays: Sequence[Array], given: Sequence[int], channels: int, nothing: Any = 0) -> list[Array]:
    """The arrays, the last one with `nothing` where it does not reach and cut to where it does."""
    if not given:
        return list(arrays)
    at, source, count = given
    last = arrays[-1][:, source : source + count]
    edges = [(at, channels - at - count) if axis == 1 else (0, 0) for axis in range(last.ndim)]
    return [*arrays[:-1], np.pad(last, edges, constant_values=nothing)]
