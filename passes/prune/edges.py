"""Counts worth keeping: the right edges of the steps that time makes over a count of channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from secateur.ir.choice import Choice

LEAST = 0.01
"""Of the time: what fewer channels must save to be worth the ones that go."""


def grain(choices: Iterable[Choice]) -> int:
    """The largest block of channels of any layout; time only rises in steps of it where all are blocked."""
    layouts = (layout for c in choices for layout in (*c.operand_layouts, c.result_layout))
    return max((layout.block for layout in layouts), default=0) or 1


def edges(times: Mapping[int, float], least: float = LEAST) -> list[int]:
    """Of counts with their times those that no larger one makes useless, rising; the largest is one of them.

    A count is of use where it takes less than each larger one of use, by at least the share `least`. Of
    counts that save about the same the largest is kept, so that what is left is each step's right edge.
    """
    kept: list[int] = []
    fastest = float("inf")
    for count in sorted(times, reverse=True):
        if times[count] <= fastest * (1 - least):
            kept.append(count)
            fastest = times[count]
    return kept[::-1]


def thinned(counts: Sequence[int], times: Mapping[int, float], most: int) -> list[int]:
    """At most `most` of these edges, at least 2: those left where a step must save a larger share."""
    kept, least = list(counts), LEAST
    while len(kept) > most:
        least *= 1.25
        kept = edges({count: times[count] for count in counts}, min(least, 0.9))
        if least > 0.9:
            return [kept[0], kept[-1]] if len(kept) > most else kept
    return kept
