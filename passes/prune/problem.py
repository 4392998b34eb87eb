"""What counts of groups lose and cost, as tables for `weighing.py`, and the best within limits on sums.

A problem is of the counts that it weighs: with others, around an answer say, there is another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.support.units import size_text

from ..select.sweeps import TIES
from ..select.tolls import kept_duration
from .counted import COUNTED
from .curves import Floats
from .domains import Domains
from .extents import Extents, PointCosts
from .surrogate import within_both
from .tables import Row, Times
from .weighing import Answer, BeyondError, Pair, weighed

Limits = Mapping[str, float]
"""On what adds up over operators: `seconds`, `macs`, `weights`, `loss`."""


@dataclass(frozen=True, eq=False)
class Carried:
    """What the second of two curves (by their places) loses with units that the first does not keep.

    `losses[i]` is for unit i in the order of both: those count that the second keeps and the first does not.
    """

    first: int
    second: int
    losses: Floats

    def lost(self, first: int, second: int) -> float:
        """Where the two keep so many."""
        return float(self.losses[first:second].sum())


class BudgetError(SecateurError):
    """No counts that are weighed keep the budget; the message names the nearest that some keep."""

    def __init__(self, message: str, nearest: float) -> None:
        super().__init__(message)
        self.nearest = nearest


@dataclass(eq=False)
class Problem:
    """The `counts` of each group of the curves of `costs.extents` that are weighed.

    Variables are those of `domains`, and where time is asked for those that `Times` reserves.
    """

    costs: PointCosts
    counts: Sequence[Sequence[int]]
    carried: Sequence[Carried] = ()

    def __post_init__(self) -> None:
        self.domains = Domains(self.extents, self.counts)

    @property
    def extents(self) -> Extents:
        return self.costs.extents

    @cached_property
    def times(self) -> Times:
        """Seconds over counts, ways and layouts."""
        return Times(self.extents.graph, self.extents, self.domains, self.costs)

    def around(self, kept: Iterable[int], most: int) -> Problem:
        """The same where each group has at most so many counts to either side of what it keeps."""
        places = [counts.index(one) for counts, one in zip(self.counts, kept, strict=True)]
        near = [
            counts[max(0, at - most) : at + most + 1] for counts, at in zip(self.counts, places, strict=True)
        ]
        return Problem(self.costs, near, self.carried)

    def kept(self, answer: Answer) -> tuple[dict[int, int], frozenset[int]]:
        """The counts of an answer, and the branches that go; groups within these keep all."""
        extents = self.extents
        numbers = range(len(extents.branches.all))
        gone = frozenset(n for n in numbers if answer.values[self.domains.branch(n)])
        rows = enumerate(zip(self.counts, extents.sizes, extents.around, strict=True))
        found = {
            n: size if gone.intersection(around) else counts[answer.values[n]]
            for n, (counts, size, around) in rows
        }
        return found, gone

    def best(self, limits: Limits, more: Iterable[Pair] = ()) -> tuple[Answer, str]:
        """The answer of least loss within one or two limits on sums (of least time, within one on loss), and
        why it may not be the best; `more` are tables of further costs.

        Its toll is the first sum. BudgetError where none is found.
        """
        if len(limits) > 1:
            return self._within_both(limits, tuple(more))
        ((name, limit),) = limits.items() or [("", 0.0)]
        tables = [*self.pairs(name), *more]
        try:
            return weighed(self.domains.sizes, tables, limit), ""
        except BeyondError as error:
            raise beyond(name or "arena", limit, error.least) from None

    def priced(self, price: float) -> list[Pair]:
        """Tables of time, a second at the loss `price`."""
        return list(_pairs([(v, rows * price) for v, rows in self.times.tables], ()))

    def pairs(self, name: str) -> list[Pair]:
        """The problem's tables where `name` (or nothing) is limited."""
        if name == "loss":
            found = list(_pairs(self.times.tables, self._losses()))
        elif not name:
            found = list(_pairs(self._losses(), ()))
        else:
            found = list(_pairs(self._losses(), self._spent(name)))
        return [*found, *self.domains.tables]

    def _within_both(self, limits: Limits, more: tuple[Pair, ...]) -> tuple[Answer, str]:
        rows = {name: list(self._spent(name)) for name in limits}
        common = [*_pairs(self._losses(), ()), *self.domains.tables, *more]
        sizes = self.domains.sizes

        def solve(weight: float, limit: float) -> Answer:
            shares = zip(limits.items(), (weight, 1 - weight), strict=True)
            tolls = [(v, row * (w / most)) for (name, most), w in shares if w for v, row in rows[name]]
            return weighed(sizes, [*common, *_pairs((), tolls)], limit)

        def sums(answer: Answer) -> tuple[float, float]:
            first, second = (_total(rows[name], answer) / limit for name, limit in limits.items())
            return first, second

        for name, limit in limits.items():
            if limit <= 0:
                raise beyond(name, limit, 0.0)
        try:
            both = within_both(solve, sums)
        except BeyondError:
            (a, x), (b, y) = limits.items()
            text = f"no counts were found that keep {_TEXTS[a](x)} and {_TEXTS[b](y)}"
            raise BudgetError(text, math.inf) from None
        answer, first = both.answer, next(iter(limits))
        doubt = "" if answer.cost <= both.bound * (1 + TIES) else "counts that lose less may keep both limits"
        return replace(answer, toll=_total(rows[first], answer), bound=both.bound), doubt

    def _losses(self) -> Iterator[Row]:
        yield from self._alone()
        for one in self.carried:
            first, second = (self.counts[number] for number in (one.first, one.second))
            yield (one.first, one.second), np.array([[one.lost(a, b) for b in second] for a in first])

    def _alone(self) -> Iterator[Row]:
        rows_of = zip(self.extents.curves, self.counts, self.extents.around, strict=True)
        for number, (one, counts, around) in enumerate(rows_of):
            rows = np.zeros((len(counts), 2 ** len(around)))
            rows[:, 0] = one.loss[list(counts)]
            variables = (number, *map(self.domains.branch, around))
            yield variables, rows.reshape(self.domains.shape(variables))
        for number, bypass in enumerate(self.extents.branches.all):
            yield (self.domains.branch(number),), np.array([0.0, bypass.loss])

    def _spent(self, name: str) -> Iterable[Row]:
        return self.times.tables if name == "seconds" else COUNTED[name](self.extents, self.domains)


def beyond(name: str, limit: float, least: float, others: Limits = MappingProxyType({})) -> BudgetError:
    """A limit that cannot be kept, with others."""
    text = _TEXTS[name]
    if others:
        kept = " and ".join(_TEXTS[other](most) for other, most in others.items())
        return BudgetError(f"no counts were found that keep {text(limit)} with {kept}", least)
    possible = f"; the least possible is {text(least)}" if math.isfinite(least) else ""
    return BudgetError(f"no counts keep {text(limit)}{possible}", least)


_TEXTS: dict[str, Callable[[float], str]] = {
    "seconds": kept_duration,
    "macs": lambda macs: f"{macs:.0f} multiply-accumulates",
    "weights": lambda bytes: f"{size_text(round(bytes))} of weights",
    "arena": lambda bytes: f"{size_text(round(bytes))} of arena",
    "loss": lambda loss: f"a loss of {loss:g}",
}


def _total(rows: Iterable[Row], answer: Answer) -> float:
    """The sum of tables where an answer is."""
    return sum(float(row[tuple(answer.values[v] for v in variables)]) for variables, row in rows)


def _pairs(costs: Iterable[Row], tolls: Iterable[Row]) -> Iterator[Pair]:
    """Tables of costs, and tables of tolls, as pairs."""
    for variables, rows in costs:
        yield Pair(variables, rows, np.zeros(rows.shape))
    for variables, rows in tolls:
        yield Pair(variables, np.zeros(rows.shape), rows)
