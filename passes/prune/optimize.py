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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from secateur.ir.choice import CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.support.units import duration_text

from ..select.elimination import TooWideError
from ..select.graphs import problem_of
from ..select.solver import Solver
from ..select.sweeps import TIES
from .arena import forbidding
from .bypasses import find_bypasses
from .candidates import MOST, candidates
from .criteria.branches import Branch
from .curves import Curve
from .extents import Extents, PointCosts
from .problem import BudgetError, Carried, Limits, Problem, beyond
from .sizes import SizedCosts
from .weighing import Answer

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
        at_points = PointCosts(self.extents, self.costs)
        self.problem = Problem(at_points, candidates(at_points, most, fine), self.carried)
        self._planned: dict[tuple[object, ...], float] = {}

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
        rows = zip(self.curves, kept, self.extents.around, strict=True)
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
            found = self._pruning(budget.sums, *self.problem.best(budget.sums))
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

    def _within_arena(self, limit: int, sums: Limits) -> Pruning:
        """The counts of least loss by the bound on what lives together, tightened until the peak fits."""
        asked, bound = limit, 0.0
        if sums:
            self.problem.best(sums)  # says which limit cannot be kept even without one on the arena
        for tried in range(_TIGHTENINGS):
            try:
                forbidden = forbidding(self.extents, self.problem.domains, asked)
                answer, doubt = self.problem.best(sums, forbidden)
            except BudgetError:
                break
            bound = bound if tried else answer.bound
            peak = self.peak(*self.problem.kept(answer))
            if peak <= limit:
                return self._with_arena(answer, peak, bound, doubt or (_TIGHTER if tried else ""))
            asked = min(asked - 1, asked * limit // peak)
        peak, answer = self._least_arena()
        if peak > limit or sums:
            raise beyond("arena", limit, peak, sums)
        return self._with_arena(answer, peak, bound, _TIGHTER)

    def _with_arena(self, answer: Answer, peak: int, bound: float, doubt: str) -> Pruning:
        found = self._pruning({}, answer, "")
        return replace(found, spent=peak, bound=bound, doubt=doubt)

    def _least_arena(self) -> tuple[int, Answer]:
        """The least arena of the fewest counts, with all branches or without any."""
        groups, branches = [0] * len(self.extents.sizes), len(self.bypasses)
        ways = [Answer((*groups, *[gone] * branches), 0.0, 0.0, 0.0) for gone in (0, 1)]
        return min(((self.peak(*self.problem.kept(way)), way) for way in ways), key=lambda found: found[0])

    def _faster(self, limits: Limits, found: Pruning, slack: float) -> Pruning:
        """Counts near these, within the same limits, that take less time and lose at most so much more.

        The time of the whole network is priced at what may be lost, so no answer at this price loses more.
        """
        price = slack * found.loss / self.before
        if not price:
            return found
        try:
            tried = self._at_price(self.problem.around(found.kept.values(), _NEIGHBOURS), limits, price)
        except TooWideError:
            return found
        if tried.seconds >= found.seconds * (1 - TIES):
            return found
        return replace(tried, bound=found.bound, resolution=max(tried.loss - found.bound, 0.0))

    def _no_slower(self, limits: Limits, slower: Pruning) -> Pruning:
        """Counts within limits on what is counted that take no longer than the whole graph.

        Time is weighed with loss at a price, as low as does it; the answer says that the loss may not be the
        least. Where no price does it, the slower counts are the answer.
        """
        low, high, found = 0.0, max(slower.loss, 1.0) / self.before * _DEAREST, None
        for _ in range(_PRICES):
            price = math.sqrt(low * high) if low else high / _DEAREST
            try:
                tried = self._at_price(self.problem, limits, price)
            except BudgetError:
                break
            if tried.seconds > self.before * (1 + TIES):
                low = price
                continue
            high, found = price, tried
        doubt = "the counts that lose least take longer than the whole network does"
        return replace(found or slower, bound=slower.bound, doubt=doubt)

    def _at_price(self, problem: Problem, limits: Limits, price: float) -> Pruning:
        """The best counts where a second costs so much loss."""
        answer, doubted = problem.best(limits, problem.priced(price))
        return self._pruning(limits, answer, doubted, problem)

    def _pruning(
        self, limits: Limits, answer: Answer, doubted: str, problem: Problem | None = None
    ) -> Pruning:
        """What an answer to the whole problem, or to another, comes to."""
        name = next(iter(limits), "")
        counts, gone = (problem or self.problem).kept(answer)
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
