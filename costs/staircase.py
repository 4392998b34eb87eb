"""Time against a layer's count of channels, by a cost table: its steps, why they are there, counts to keep.

Times are those of the cost table for an operator of that many channels; nothing is compiled. Why a step is
there, the primitive says: its tiling at the two counts, word by word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from secateur.codegen.backends.registry import kernels_of
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.targets.target import Target
from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Graph, Operator
from secateur.passes.prune.candidates import LEAST, edges
from secateur.passes.prune.sizes import (
    SizedCosts,
    UnsizedError,
    at_counts,
    channels_of,
    filters_of,
    is_layer,
)

from .measured import TableCosts

FILTERS = "filters"


@dataclass(frozen=True)
class Step:
    """From `count` to the next that there is, time rises from `seconds` to `after`; `reasons` say why.

    They are what changes in how the fastest primitive cuts its work; none where time grows steadily.
    """

    count: int
    seconds: float
    after: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Staircase:
    """A layer's time at `counts` of its filters or channels, rising: the least, and by primitive.

    A primitive that a count does not have is missing there. `primitives[name][count]` and `times[count]` are
    in seconds on one core. Where times are a table's, `estimates` are the cost model's least times beside
    them, and `measured` the counts that the table has; else both are empty.
    """

    name: str
    operator: str
    axis: str
    counts: tuple[int, ...]
    times: Mapping[int, float]
    primitives: Mapping[str, Mapping[int, float]]
    tiling: Callable[[int], Mapping[str, str]] = field(repr=False)
    estimates: Mapping[int, float] = field(default_factory=dict)
    measured: frozenset[int] = frozenset()

    @property
    def full(self) -> int:
        """The count that the layer has."""
        return self.counts[-1]

    @cached_property
    def keep(self) -> tuple[int, ...]:
        """Counts worth keeping (`edges`)."""
        return tuple(edges(self.times))

    @cached_property
    def cliffs(self) -> tuple[int, ...]:
        """Counts for which a larger one takes less time, by more than a hundredth."""
        found, fastest = [], float("inf")
        for count in reversed(self.counts):
            if self.times[count] > fastest * (1 + LEAST):
                found.append(count)
            fastest = min(fastest, self.times[count])
        return tuple(found[::-1])

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Where time rises by more than a hundredth from one count to the next, for a reason."""
        pairs = zip(self.counts, self.counts[1:], strict=False)
        risen = (self._step(a, b) for a, b in pairs if self.times[b] > self.times[a] * (1 + LEAST))
        return tuple(step for step in risen if step.reasons)

    def _step(self, count: int, after: int) -> Step:
        reasons = changes(self.tiling(count), self.tiling(after))
        return Step(count, self.times[count], self.times[after], tuple(reasons))


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """What differs between two tilings: `register tile: 6 pixels x 2 vectors -> ...`."""
    for what in dict.fromkeys((*before, *after)):
        if before.get(what) != after.get(what):
            yield f"{what}: {before.get(what, 'none')} -> {after.get(what, 'none')}"


def layers(graph: Graph) -> list[Operator]:
    """The layers of a fused graph whose channels can be counted."""
    return [op for op in graph.operators if is_layer(op)]


def staircase(
    op: Operator,
    axis: str,
    costs: CostTable,
    target: Target,
    done: Callable[[], None] = lambda: None,
) -> Staircase:
    """The times of a layer at every count of its filters or channels; those that it cannot have are left out.

    `done` is called once for each count.
    """
    full = filters_of(op) if axis == FILTERS else channels_of(op)
    sized = costs if isinstance(costs, SizedCosts) else SizedCosts(costs)
    table = sized.costs if isinstance(sized.costs, TableCosts) else None
    found: dict[int, tuple[Choice, ...]] = {}
    operators: dict[int, Operator] = {}
    for count in range(1, full + 1):
        other = _at(op, axis, count)
        if other is not None:
            found[count], operators[count] = sized.choices(other), other
        done()
    best = {count: min(choices, key=lambda c: c.seconds) for count, choices in found.items()}
    times = {count: choice.seconds for count, choice in best.items()}

    def cut(count: int) -> Mapping[str, str]:
        return tiling(operators[count], best[count], target)

    return Staircase(
        op.loc or op.name, op.name, axis, tuple(found), times, _by_primitive(found), cut,
        {count: table.estimate(other) for count, other in operators.items()} if table else {},
        frozenset(count for count, other in operators.items() if table and table.has(other)),
    )  # fmt: skip


def _at(op: Operator, axis: str, count: int) -> Operator | None:
    """The layer at a count, or None where there is no such layer."""
    try:
        return at_counts(op, **{axis: count})
    except UnsizedError:
        return None


def _by_primitive(found: Mapping[int, tuple[Choice, ...]]) -> dict[str, dict[int, float]]:
    times: dict[str, dict[int, float]] = {}
    for count, choices in found.items():
        for choice in choices:
            row = times.setdefault(choice.primitive, {})
            row[count] = min(choice.seconds, row.get(count, float("inf")))
    return times


def tiling(op: Operator, choice: Choice, target: Target) -> Mapping[str, str]:
    """How a choice cuts an operator, in words, the primitive first."""
    chosen = chosen_as(op, choice)
    words = kernels_of(target).primitives.find(chosen).tiling(chosen, target)
    return {"primitive": choice.primitive, **words}
