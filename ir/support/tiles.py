"""Where the tiles of a Winograd convolution lie along an axis, in the interpreter and on every machine.

What the point at infinity makes counts in a tile's last result alone. So where tiles would reach past the
results some of them, the last ones, are lower instead: they have one result less, the next tile begins
there, and nobody needs what they make at infinity. 14 results in tiles of 4 are 4 + 4 + 3 + 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Tiles:
    """Those that cover `results` results of one image, each of at most `size`."""

    results: int
    size: int

    @cached_property
    def count(self) -> int:
        return -(-self.results // self.size)

    @cached_property
    def whole(self) -> int:
        """How many have all results: the first ones. The others are lower."""
        return max(0, self.results - (self.size - 1) * self.count)

    def start(self, number: int) -> int:
        """The first result of a tile."""
        return number * self.size - max(0, number - self.whole)

    def end(self, offset: int) -> int | None:
        """Tiles that start before this have a result at `offset`; all have where it is None."""
        if offset == self.size - 1:
            return self.whole * self.size if self.whole < self.count else None
        return self.results - offset if self.start(self.count - 1) + offset >= self.results else None

    @cached_property
    def owners(self) -> tuple[tuple[int, int], ...]:
        """Of each result, the tile that has it and its offset there."""
        return tuple(
            (number, offset)
            for number in range(self.count)
            for offset in range(self.size)
            if (end := self.end(offset)) is None or self.start(number) < end
        )
