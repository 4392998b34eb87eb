"""The questions that selection asks, answered exactly or with a proven bound.

Least time without a limit is a labelling problem on the network's own graph and
is solved by elimination; everything else concerns what is live together and is
a sweep over the trellis. Both are exact where they are narrow enough. Where
they are not, the answer is the best of a beam search and of a local optimum,
with a bound that no plan can beat and the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from secateur.ir.errors import SecateurError
from secateur.ir.support.units import duration_text, size_text

from .bounds import Bounds
from .elimination import LARGEST_TABLE, TooWideError, descend, minimize
from .footprint import costs
from .labels import Answer, least_toll
from .limits import fastest_within, frontier_within, smallest_within
from .problem import Costs, Plan, Problem
from .search import LARGEST_LAYER, build
from .sweeps import TIES, least_peak, within_bytes
from .tables import Labelling
from .tolls import NOISE, Toll, kept_duration
from .trellis import CutShortError, NoCourseError, Trellis, along


class ImpossibleError(SecateurError):
    """No plan meets the limits; the message names the nearest limit that one meets.

    Where that is a limit on what adds up, `toll` is it.
    """

    def __init__(self, message: str, toll: float | None = None) -> None:
        super().__init__(message)
        self.toll = toll


@dataclass(frozen=True)
class Solution:
    """A plan and its costs; no plan that meets the limits has a smaller objective than `bound`.

    The plan is optimal where `doubt` is empty; else that says why it may not be.
    """

    plan: Plan
    costs: Costs
    bound: float
    doubt: str = ""


@dataclass(frozen=True, eq=False)
class Solver:
    """Answers for one problem, with at most so many edges in a layer and entries in a table.

    `toll` says what the problem's tolls are.
    """

    problem: Problem
    toll: Toll = NOISE
    largest_layer: int = LARGEST_LAYER
    largest_table: int = LARGEST_TABLE

    def fastest(self, memory: int | None = None, toll: float | None = None) -> Solution:
        """The least seconds with a peak of at most `memory` bytes and toll of at most `toll`.

        Raises ImpossibleError where nothing meets the limits.
        """
        anyhow = self._unlimited
        meets = _within(anyhow.costs, memory, toll)
        if meets and not anyhow.doubt:
            return anyhow
        try:
            trellis = self._trellis_within(memory)
            found = self._of_time(fastest_within(trellis, memory, toll), trellis, memory)
        except NoCourseError:
            if meets:
                return anyhow
            raise self._impossible(memory, toll) from None
        return anyhow if meets and anyhow.costs.seconds <= found.costs.seconds else found

    def smallest(self, seconds: float | None = None, toll: float | None = None) -> Solution:
        """The least peak with at most `seconds` and toll of at most `toll`; of such plans a fastest one.

        Raises ImpossibleError where nothing meets the limits.
        """
        try:
            answer = smallest_within(self.trellis, seconds, toll)
        except NoCourseError:
            least = self.fastest(toll=toll)
            assert seconds is not None, "the toll would do"
            raise ImpossibleError(
                _too_few(duration_text(seconds), kept_duration(least.costs.seconds), least.doubt)
            ) from None
        doubt = self.trellis.left_out or _rounding(answer)
        bound = self._bounds.peak if doubt else answer.course.peak
        doubt = "" if bound == answer.course.peak else doubt
        return Solution(answer.course.plan, _costs(answer), bound, doubt)

    def frontier(self, toll: float | None = None) -> list[Solution]:
        """Plans by rising peak and falling seconds: where nothing is in doubt, all that are undominated.

        The bounds are on seconds at each plan's peak.
        """
        try:
            answers = frontier_within(self.trellis, toll)
        except NoCourseError:
            raise self._impossible(None, toll) from None
        points = [self._of_time(answer, self.trellis, answer.course.peak) for answer in answers]
        if not self.trellis.left_out:
            return points
        anyhow = self._unlimited
        if not _within(anyhow.costs, None, toll):
            return points
        kept = [p for p in points if not _no_worse(anyhow.costs, p.costs)]
        better = not any(_no_worse(p.costs, anyhow.costs) for p in kept)
        return sorted([*kept, *([anyhow] if better else [])], key=lambda p: p.costs.peak)

    @cached_property
    def trellis(self) -> Trellis:
        """What is live together, step by step; ImpossibleError where no plan is possible."""
        try:
            return build(self.problem, self.largest_layer)
        except NoCourseError as error:
            raise ImpossibleError(f"no choice of primitives fits together: {error}") from None
        except CutShortError as error:
            if costs(self.problem, self._local).seconds == float("inf"):
                raise ImpossibleError(f"no primitives that fit together were found: {error}") from None
            return along(self.problem, self._local, str(error))

    def _trellis_within(self, memory: int | None) -> Trellis:
        """A trellis with the plans that need at most so many bytes: fewer, and so perhaps all of them."""
        if memory is None or not self.trellis.left_out:
            return self.trellis
        try:
            return build(self.problem, self.largest_layer, memory)
        except CutShortError:
            return self.trellis

    # Parts of an answer

    @cached_property
    def _labelling(self) -> Labelling:
        return Labelling(self.problem)

    @cached_property
    def _local(self) -> Plan:
        """A plan of which no single change takes less time."""
        start = self._labelling
        return start.plan(descend(start.sizes, start.tables, start.start))

    @cached_property
    def _unlimited(self) -> Solution:
        """Least seconds, whatever the memory and the toll."""
        labelling = self._labelling
        try:
            values = minimize(labelling.sizes, labelling.tables, self.largest_table)
        except TooWideError as error:
            return self._wide(str(error))
        plan = labelling.plan(values)
        found = costs(self.problem, plan)
        if found.seconds == float("inf"):
            raise ImpossibleError("no choice of primitives fits together")
        return Solution(plan, found, found.seconds)

    def _wide(self, doubt: str) -> Solution:
        """The same where elimination needs too large a table."""
        best = fastest_within(self.trellis)
        if not self.trellis.left_out:
            return Solution(best.course.plan, _costs(best), best.bound)
        plan = min(best.course.plan, self._local, key=lambda p: costs(self.problem, p).seconds)
        bound = self._bounds.seconds(None, self.largest_table)
        return Solution(plan, costs(self.problem, plan), bound, f"{doubt}, and {self.trellis.left_out}")

    @cached_property
    def _bounds(self) -> Bounds:
        return Bounds(self.problem)

    def _of_time(self, answer: Answer, trellis: Trellis, memory: int | None) -> Solution:
        """An answer of least seconds within `memory` bytes; of a trellis cut short with a relaxed bound."""
        doubt, bound = trellis.left_out or _rounding(answer), answer.bound
        if trellis.left_out:
            bound = self._bounds.seconds(memory, self.largest_table)
        if bound >= answer.course.seconds * (1 - TIES):
            doubt = ""
        return Solution(answer.course.plan, _costs(answer), bound, doubt)

    def _impossible(self, memory: int | None, toll: float | None) -> ImpossibleError:
        """What to say of limits that nothing meets."""
        doubt, trellis = self.trellis.left_out, self.trellis
        least = least_peak(trellis)
        if memory is not None and memory < least:
            return ImpossibleError(_too_few(size_text(memory), size_text(least), doubt))
        cheapest = least_toll(trellis if memory is None else within_bytes(trellis, memory)).toll
        assert toll is not None, "memory would do"
        text = _too_few(self.toll.limit(toll), self.toll.least(cheapest), doubt)
        return ImpossibleError(text, toll=cheapest)


def _costs(answer: Answer) -> Costs:
    """What the trellis counted on the way: the same as `footprint.costs`, without walking again."""
    return Costs(answer.course.seconds, answer.course.peak, answer.course.toll)


def _within(found: Costs, memory: int | None, toll: float | None) -> bool:
    return (memory is None or found.peak <= memory) and (toll is None or found.toll <= toll)


def _no_worse(one: Costs, other: Costs) -> bool:
    return one.peak <= other.peak and one.seconds <= other.seconds


def _rounding(answer: Answer) -> str:
    return f"toll was rounded to multiples of {answer.resolution:g}" if answer.resolution else ""


def _too_few(limit: str, nearest: str, doubt: str) -> str:
    if doubt:
        return (
            f"nothing was found within {limit}; the nearest found is {nearest} (not all was tried: {doubt})"
        )
    return f"nothing fits in {limit}; the least possible is {nearest}"
