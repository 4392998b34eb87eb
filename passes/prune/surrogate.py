"""Two limits on sums at once, by limits on their weighted sum: exact where an answer to that keeps both.

    least cost,  a <= 1,  b <= 1      is at least      least cost,  w a + (1 - w) b <= 1      for every w

(the surrogate dual, Glover 1968). So an answer of the right that keeps both limits is the best of the left.
At w = 1 and at 0 one limit is left out; between, w is halved towards the limit that is broken. Where no w
does it, the weighted sum is asked to be less, until both limits are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..select.sweeps import TIES
from .weighing import Answer, BeyondError

HALVINGS = 10
LESS = (0.998, 0.995, 0.99, 0.98, 0.96, 0.93, 0.89, 0.84, 0.78, 0.7)
"""Of the limit on the weighted sum, where no weight keeps both limits."""

Solve = Callable[[float, float], Answer]
"""The answer of least cost with a weight of the first sum, and a limit on the weighted sum."""
Sums = Callable[[Answer], tuple[float, float]]
"""Both sums of an answer, as shares of their limits."""


@dataclass(frozen=True)
class Both:
    """An answer that keeps both limits, and a cost that none which does is below."""

    answer: Answer
    bound: float


def within_both(solve: Solve, sums: Sums) -> Both:
    """BeyondError where one limit alone cannot be kept, or no answer was found that keeps both."""
    bound, low, high = 0.0, 0.0, 1.0
    for weight in (1.0, 0.0):
        answer = solve(weight, 1.0)
        bound = max(bound, answer.bound)
        if max(sums(answer)) <= 1 + TIES:
            return Both(answer, bound)
    for _ in range(HALVINGS):
        weight = (low + high) / 2
        answer = solve(weight, 1.0)
        bound = max(bound, answer.bound)
        first, second = sums(answer)
        if max(first, second) <= 1 + TIES:
            return Both(answer, bound)
        low, high = (weight, high) if first > 1 else (low, weight)
    return Both(_asked_less(solve, sums, (low, high)), bound)


def _asked_less(solve: Solve, sums: Sums, weights: tuple[float, float]) -> Answer:
    for less in LESS:
        found = [a for a in (solve(weight, less) for weight in weights) if max(sums(a)) <= 1 + TIES]
        if found:
            return min(found, key=lambda answer: answer.cost)
    raise BeyondError(1.0)
