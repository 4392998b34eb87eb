"""How many units each group keeps, together with primitives and layouts: least importance lost in a time.

    found = Optimizer(fused, curves, costs).within(Budget(seconds=0.02))
    remove(graph, found.gone)                      # the graph before fusion, whose groups have these names

`fused` is the graph as selection sees it, `curves` are its groups' (`curves.transferred` gives them from
those of the graph before fusion). Exact over the counts that are weighed (`candidates.py`), for any of the
limits, up to the resolution that the answer states. The answer's time is what selection plans for the pruned
graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from secateur.ir.choice import CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.support.units import duration_text, size_text

from ..select.elimination import TooWideError
from ..select.graphs import problem_of
from ..select.solver import Solver
from ..select.sweeps import TIES
from ..select.tolls import kept_duration
from .arena import forbidding
from .bypasses import find_bypasses
from .candidates import MOST, candidates
from .counted import COUNTED
from .criteria.branches import Branch
from .curves import Curve, Floats
from .domains import Domains
from .extents import Extents, PointCosts
from .sizes import SizedCosts
from .surrogate import within_both
from .tables import Row, Times
from .weighing import Answer, BeyondError, Pair, weighed

_TIGHTENINGS = 12  # of what is asked of the bound on an arena
_TIGHTER = "a plan of less memory may fit counts that lose less"
_NEIGHBOURS = 2  # counts to either side of one that was found, for less time at nearly its loss
_PRICES, _DEAREST = 12, 1e3  # of time that are tried, and times the loss that all time costs at most


@dataclass(frozen=True)
class Budget:
    """What is limited: `seconds` on one core, multiply-accumulates, bytes of `weights` (of constants, as they
    are in the model), bytes of `arena`, or the importance lost: then time is least, else the loss is. Of an
    arena the limit is on the peak of the plan of least memory that selection finds.

    Two of the first three may be limited at once, and the arena too; loss is limited alone.
    """

    seconds: float | None = None
    macs: int | None = None
    weights: int | None = None
    arena: int | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        if not self.given:
            raise SecateurError("pruning wants a limit: on seconds, macs, weights, arena or loss")
        if len(self.sums) > 2 or (self.loss is not None and len(self.given) > 1):
            raise SecateurError(f"pruning cannot limit {', '.join(self.given)} at the same time")

    @property
    def sums(self) -> dict[str, float]:
        """The limits on what adds up over operators."""
        return {name: limit for name, limit in self.given.items() if name != "arena"}

    @property
    def given(self) -> dict[str, float]:
        names = ("seconds", "macs", "weights", "arena", "loss")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class Pruning:
    """What is kept and lost. `kept` and `gone` are by the names of the groups of the curves given.

    `branches` are those that go, by name; groups within them count as kept.
    `seconds` is the time of the plan that selection makes of the pruned graph, `before` that of the whole;
    `spent` is how much of the budget is used. No other counts of those weighed lose less than `bound`
    (take less time, with a limit on loss); where the answer may be above it by more than rounding, it is by
    `resolution` at most. `doubt` says why the answer may not be the best one, empty where it is.
    """

    kept: Mapping[str, int]
    gone: Mapping[str, tuple[int, ...]]
    loss: float
    seconds: float
    before: float
    spent: float
    bound: float
    resolution: float
    doubt: str = ""
    branches: tuple[str, ...] = ()


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


class CoupledError(SecateurError):
    """Counts of too many groups depend on each other; fewer counts of each may do."""


class Optimizer:
    """The counts of least loss within budgets (of least time, where loss is limited).

    At most about `most` counts of each group are weighed; what they cost is worked out once for all budgets.
    """

    def __init__(
        self,
        fused: Graph,
        curves: Sequence[Curve],
        costs: CostTable,
        most: int = MOST,
        carried: Sequence[Carried] = (),
        branches: Sequence[tuple[Branch, float]] = (),
        fine: bool = False,
    ) -> None:
        self.curves, self.costs = tuple(curves), SizedCosts(costs)
        self.carried = tuple(carried)
        self.bypasses = tuple(find_bypasses(fused, branches))
        self.extents = Extents(fused, self.curves, self.bypasses)
        self._around = [self.extents.branches.with_group(c.group) for c in self.curves]
        self._at_points = PointCosts(self.extents, self.costs)
        self.counts = candidates(self._at_points, most, fine)
        self.domains = Domains(self.extents, self.counts)
        self._planned: dict[tuple[object, ...], float] = {}

    @cached_property
    def times(self) -> Times:
        """Seconds over counts, ways and layouts."""
        return Times(self.extents.graph, self.extents, self.domains, self._at_points)

    @cached_property
    def before(self) -> float:
        """Seconds of the whole graph as selection plans it."""
        return self.seconds({})

    def seconds(self, counts: Mapping[int, int], gone: frozenset[int] = frozenset()) -> float:
        """Of the graph at these counts (by the curves' numbers) without branches `gone`, as planned."""
        key = (gone, *(counts.get(i, size) for i, size in enumerate(self.extents.sizes)))
        if key not in self._planned:
            found = problem_of(self.extents.pruned(counts, gone), self.costs)
            self._planned[key] = Solver(found.problem).fastest().costs.seconds
        return self._planned[key]

    def loss(self, counts: Mapping[int, int], gone: frozenset[int] = frozenset()) -> float:
        """Importance lost at these counts without branches `gone`; groups within these lose no more."""
        kept = [counts.get(i, size) for i, size in enumerate(self.extents.sizes)]
        rows = zip(self.curves, kept, self._around, strict=True)
        alone = sum(float(c.loss[k]) for c, k, around in rows if not gone.intersection(around))
        alone += sum(self.bypasses[number].loss for number in gone)
        return alone + sum(one.lost(kept[one.first], kept[one.second]) for one in self.carried)

    def within(self, budget: Budget, slack: float = 0.0) -> Pruning:
        """The best counts within a budget; BudgetError where none keeps it.

        Where neither time nor loss is limited, of those that lose at most the share `slack` more than the
        least, fast ones. CoupledError where fewer counts of each group must do.
        """
        try:
            if budget.arena is not None:
                return self._within_arena(budget.arena, budget.sums)
            found = self._pruning(budget.sums, *self._weighed(budget.sums))
            if budget.seconds is not None or budget.loss is not None:
                return found
            found = self._faster(budget.sums, found, slack)
            slower = found.seconds > self.before * (1 + TIES)
            return self._no_slower(budget.sums, found) if slower else found
        except TooWideError as error:
            raise CoupledError(f"counts of too many groups depend on each other: {error}") from None

    def peak(self, counts: Mapping[int, int], gone: frozenset[int] = frozenset()) -> int:
        """Bytes of arena of the graph at these counts, by the plan of least memory."""
        found = problem_of(self.extents.pruned(counts, gone), self.costs)
        return Solver(found.problem).smallest().costs.peak

    def _within_arena(self, limit: int, sums: Mapping[str, float]) -> Pruning:
        """The counts of least loss by the bound on what lives together, tightened until the peak fits."""
        asked, bound = limit, 0.0
        if sums:
            self._weighed(sums)  # says which limit cannot be kept even without one on the arena
        for tried in range(_TIGHTENINGS):
            try:
                answer, doubt = self._weighed(sums, tuple(forbidding(self.extents, self.domains, asked)))
            except BudgetError:
                break
            bound = bound if tried else answer.bound
            peak = self.peak(*self._chosen(answer))
            if peak <= limit:
                return self._with_arena(answer, peak, bound, doubt or (_TIGHTER if tried else ""))
            asked = min(asked - 1, asked * limit // peak)
        peak, answer = self._least_arena()
        if peak > limit or sums:
            raise self._beyond("arena", limit, peak, sums)
        return self._with_arena(answer, peak, bound, _TIGHTER)

    def _with_arena(self, answer: Answer, peak: int, bound: float, doubt: str) -> Pruning:
        found = self._pruning({}, answer, "")
        return replace(found, spent=peak, bound=bound, doubt=doubt)

    def _least_arena(self) -> tuple[int, Answer]:
        """The least arena of the fewest counts, with all branches or without any."""
        groups, branches = [0] * len(self.counts), len(self.bypasses)
        ways = [Answer((*groups, *[gone] * branches), 0.0, 0.0, 0.0) for gone in (0, 1)]
        return min(((self.peak(*self._chosen(way)), way) for way in ways), key=lambda found: found[0])

    def _chosen(self, answer: Answer) -> tuple[dict[int, int], frozenset[int]]:
        """The counts of an answer, and the branches that go; groups within these keep all."""
        picked = [counts[v] for counts, v in zip(self.counts, answer.values, strict=False)]
        gone = frozenset(n for n in range(len(self.bypasses)) if answer.values[self.domains.branch(n)])
        rows = enumerate(zip(picked, self._around, strict=True))
        whole = self.extents.sizes
        return {i: whole[i] if gone.intersection(around) else k for i, (k, around) in rows}, gone

    def _faster(self, limits: Mapping[str, float], found: Pruning, slack: float) -> Pruning:
        """Counts near these, within the same limits, that take less time and lose at most so much more.

        The time of the whole network is priced at what may be lost, so no answer at this price loses more.
        """
        if not slack * found.loss:
            return found
        near, price = self._near(found), slack * found.loss / self.before
        try:
            tried = near._pruning(limits, *near._weighed(limits, near._priced(price)))
        except TooWideError:
            return found
        if tried.seconds >= found.seconds * (1 - TIES):
            return found
        return replace(tried, bound=found.bound, resolution=max(tried.loss - found.bound, 0.0))

    def _near(self, found: Pruning) -> Optimizer:
        """The same where each group has few counts, around those that were found."""
        near = copy(self)
        near.counts = []
        for counts, kept in zip(self.counts, found.kept.values(), strict=True):
            at = counts.index(kept)
            near.counts.append(counts[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS + 1])
        near.domains = Domains(near.extents, near.counts)
        near.__dict__.pop("times", None)  # is of all counts
        return near

    def _priced(self, price: float) -> tuple[Pair, ...]:
        """Tables of time, a second at the loss `price`."""
        return tuple(_pairs([(v, rows * price) for v, rows in self.times.tables], ()))

    def _no_slower(self, limits: Mapping[str, float], slower: Pruning) -> Pruning:
        """Counts within limits on what is counted that take no longer than the whole graph.

        Time is weighed with loss at a price, as low as does it; the answer says that the loss may not be the
        least. Where no price does it, the slower counts are the answer.
        """
        low, high, found = 0.0, max(slower.loss, 1.0) / self.before * _DEAREST, None
        for _ in range(_PRICES):
            price = math.sqrt(low * high) if low else high / _DEAREST
            try:
                tried = self._pruning(limits, *self._weighed(limits, self._priced(price)))
            except BudgetError:
                break
            if tried.seconds > self.before * (1 + TIES):
                low = price
                continue
            high, found = price, tried
        doubt = "the counts that lose least take longer than the whole network does"
        return replace(found or slower, bound=slower.bound, doubt=doubt)

    def _weighed(self, limits: Mapping[str, float], more: tuple[Pair, ...] = ()) -> tuple[Answer, str]:
        """The answer of least cost within limits on sums, with more tables, and why it may not be the best.

        Its toll is the first sum. BudgetError where none is found.
        """
        if len(limits) > 1:
            return self._within_both(limits, more)
        ((name, limit),) = limits.items() or [("", 0.0)]
        tables = [*self.pairs(name), *more]
        try:
            return weighed(self.domains.sizes, tables, limit), ""
        except BeyondError as error:
            raise self._beyond(name or "arena", limit, error.least) from None

    def _within_both(self, limits: Mapping[str, float], more: tuple[Pair, ...]) -> tuple[Answer, str]:
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
                raise self._beyond(name, limit, 0.0)
        try:
            both = within_both(solve, sums)
        except BeyondError:
            (a, x), (b, y) = limits.items()
            text = f"no counts were found that keep {_TEXTS[a](x)} and {_TEXTS[b](y)}"
            raise BudgetError(text, math.inf) from None
        answer, first = both.answer, next(iter(limits))
        doubt = "" if answer.cost <= both.bound * (1 + TIES) else "counts that lose less may keep both limits"
        return replace(answer, toll=_total(rows[first], answer), bound=both.bound), doubt

    def pairs(self, name: str) -> list[Pair]:
        """The problem's tables where `name` (or nothing) is limited, over the variables of `times`."""
        if name == "loss":
            found = list(_pairs(self.times.tables, self._losses()))
        elif not name:
            found = list(_pairs(self._losses(), ()))
        else:
            found = list(_pairs(self._losses(), self._spent(name)))
        return [*found, *self.domains.tables]

    def _losses(self) -> Iterator[Row]:
        yield from self._alone()
        for one in self.carried:
            first, second = (self.counts[number] for number in (one.first, one.second))
            yield (one.first, one.second), np.array([[one.lost(a, b) for b in second] for a in first])

    def _alone(self) -> Iterator[Row]:
        for number, (one, counts) in enumerate(zip(self.curves, self.counts, strict=True)):
            around = self._around[number]
            rows = np.zeros((len(counts), 2 ** len(around)))
            rows[:, 0] = one.loss[list(counts)]
            variables = (number, *map(self.domains.branch, around))
            yield variables, rows.reshape(self.domains.shape(variables))
        for number, bypass in enumerate(self.bypasses):
            yield (self.domains.branch(number),), np.array([0.0, bypass.loss])

    def _spent(self, name: str) -> Iterable[Row]:
        return self.times.tables if name == "seconds" else COUNTED[name](self.extents, self.domains)

    def _pruning(self, limits: Mapping[str, float], answer: Answer, doubted: str) -> Pruning:
        name = next(iter(limits), "")
        counts, gone = self._chosen(answer)
        seconds = self.seconds(counts, gone)
        spent = seconds if name == "seconds" else answer.toll
        expected = {"seconds": answer.toll, "loss": answer.cost}.get(name, seconds)
        doubt = (
            doubted
            if abs(seconds - expected) <= 1e-9 * expected
            else (f"the tables say {duration_text(expected)}, selection {duration_text(seconds)}")
        )
        return Pruning(
            {c.group.name: n for c, n in zip(self.curves, counts.values(), strict=True)},
            {c.group.name: c.gone(counts[i]) for i, c in enumerate(self.curves) if counts[i] < c.group.size},
            self.loss(counts, gone), seconds, self.before, spent, answer.bound, answer.resolution, doubt,
            tuple(self.bypasses[number].name for number in sorted(gone)),
        )  # fmt: skip

    def _beyond(
        self, name: str, limit: float, least: float, others: Mapping[str, float] = MappingProxyType({})
    ) -> BudgetError:
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
