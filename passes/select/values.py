"""What the search knows of one value between two steps, and what a step makes of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations
from typing import NamedTuple

from .problem import Problem

Layouts = tuple[str, ...]  # sorted


class ValueState(NamedTuple):
    """A value with readers to come, and the layouts in which it is still needed.

    That is a promise which is kept: a tensor that is not read may not be dropped, and none is left at the
    end. Where further conversions are possible, `made` is the layout that the value was made in and `gone`
    are those that have come and gone; else both are empty.
    """

    value: int
    alive: Layouts
    made: str = ""
    gone: Layouts = ()


def born(value: int, made: str, wanted: frozenset[str]) -> ValueState:
    """A value just made in a layout, which steps to come may want in others."""
    return ValueState(value, (made,), made) if wanted - {made} else ValueState(value, (made,))


def seconds_to_read(problem: Problem, state: ValueState, layout: str) -> float | None:
    """Seconds to convert a value to a layout unless it is there; None where that is impossible."""
    if layout in state.alive:
        return 0.0
    if not state.made or layout in state.gone:
        return None
    return problem.conversions.get((state.value, state.made, layout))


def kept_states(
    state: ValueState, present: set[str], read: Collection[str], wanted: frozenset[str]
) -> Iterator[ValueState]:
    """The states in which a value may live on from a step that reads some of the layouts `present`.

    `wanted` are the layouts in which steps to come may read it; with none it dies.
    """
    if not wanted:
        if present.issubset(read):
            yield ValueState(state.value, ())
        return
    for dropped in _subsets(present.intersection(read)):
        after = _settled(state, present - dropped, dropped, wanted)
        if after is not None:
            yield after


def _settled(
    before: ValueState, alive: set[str], dropped: frozenset[str], wanted: frozenset[str]
) -> ValueState | None:
    """The state without what no longer matters; None where a tensor kept has no reader to come."""
    gone = (dropped | set(before.gone)) & wanted
    convertible = before.made in alive and bool(wanted - alive - gone)
    useless = alive - wanted - ({before.made} if convertible else set())
    if useless or not alive:
        return None
    order = tuple(sorted(alive))
    if not convertible:
        return ValueState(before.value, order)
    return ValueState(before.value, order, before.made, tuple(sorted(gone)))


def _subsets(layouts: set[str]) -> list[frozenset[str]]:
    ordered = sorted(layouts)
    return [frozenset(c) for size in range(len(ordered) + 1) for c in combinations(ordered, size)]
