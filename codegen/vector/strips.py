"""Strips: the elements that one softmax, mean or maximum runs over, whichever way they lie in memory.

Along memory, a vector holds neighbouring elements of one strip, and a
reduction ends by folding its lanes. Across memory, a vector holds one element
each of several strips, and successive elements are `step` apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..tir import Registers, T, splat
from .loops import Expr, each_vector
from .shuffles import hold

Term = Callable[[Expr, int], Expr]
Combine = Callable[[Expr, Expr], Expr]


@dataclass(frozen=True)
class Strip:
    """`count` elements, along memory in vectors of `lanes`; or `across` strips side by side."""

    count: int
    lanes: int
    across: int = 0
    step: int = 1

    @property
    def width(self) -> int:
        """Lanes of a reduction's result."""
        return self.across or 1

    def each(self, body: Callable[[Expr, int], None]) -> None:
        """`body(offset, width)` over all elements in order."""
        if not self.across:
            each_vector(self.count, self.lanes, body)
            return
        with T.serial(0, self.count) as i:
            body(i * self.step, self.across)

    def reduce(self, start: float, term: Term, combine: Combine, dtype: str) -> Any:
        """One register that combines `term(offset, width)` over all elements."""
        total = Registers(1, self.width, dtype)
        total.fill(start)
        if self.across:
            self.each(lambda offset, width: total.__setitem__(0, combine(total[0], term(offset, width))))
            return total
        wide = Registers(1, self.lanes, dtype)
        wide.fill(start)

        def body(offset: Expr, width: int) -> None:
            if width == self.lanes:
                wide[0] = combine(wide[0], term(offset, width))
            else:
                self._fold(total, term(offset, width), width, combine, dtype)

        self.each(body)
        if self.count >= self.lanes:
            self._fold(total, wide[0], self.lanes, combine, dtype)
        return total

    def spread(self, register: Any, width: int) -> Expr:
        """A reduction's result for every lane of a vector."""
        return register[0] if self.across else splat(register[0], width)

    def _fold(self, total: Any, value: Expr, width: int, combine: Combine, dtype: str) -> None:
        """Halves are combined until one lane is left."""
        value = hold(value, width, dtype)
        while width > 1 and width % 2 == 0:
            half = width // 2
            low, high = (T.Shuffle([value], list(range(s, s + half))) for s in (0, half))
            value, width = hold(combine(low, high), half, dtype), half
        lanes = [value] if width == 1 else [T.Shuffle([value], [i]) for i in range(width)]
        for lane in lanes:
            total[0] = combine(total[0], lane)
