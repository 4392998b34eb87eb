"""Which counts of a group the optimizer weighs: right edges of the steps of the operators that it governs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from secateur.ir.choice import Choice
from secateur.ir.graph import Operator

from .extents import Extents, Point, PointCosts
from .sizes import UnsizedError

MOST = 16
"""Counts of a group that are weighed."""

LOOKED_AT = 64
"""Counts among which they are looked for."""

LEAST = 0.01
"""Of the time: what fewer channels must save to be worth the ones that go."""


def candidates(costs: PointCosts, most: int = MOST, fine: bool = False) -> list[tuple[int, ...]]:
    """For each group the counts worth keeping, rising, the full one last.

    Those that no larger count makes useless, by the sum of the least times of the operators that the group
    governs (`edges`) with all other groups whole; at most `most`. Where these are fewer, `fine` adds others
    between them, for what a layer saves within a block: multiplications and weights, but no time.
    """
    found = []
    for number, operators in enumerate(_governed(costs.extents)):
        counts = _of_group(costs, number, operators, most)
        found.append(_filled(costs, number, operators, counts, most) if fine else counts)
    return found


def _governed(extents: Extents) -> list[list[Operator]]:
    """For each group the operators of which an operand or result has its channels."""
    found: list[list[Operator]] = [[] for _ in extents.curves]
    for op in extents.graph.operators:
        if op.name != "nn.constant":
            for number in {
                n for v in (*op.operands, *op.results) for groups in extents.of(v) for n in groups
            }:
                found[number].append(op)
    return found


def _of_group(costs: PointCosts, number: int, operators: Sequence[Operator], most: int) -> tuple[int, ...]:
    times: dict[int, float] = {}
    for count in _steps(costs, number, operators):
        time = _seconds(costs, operators, Point({number: count}))
        if time is not None:
            times[count] = time
    return tuple(thinned(edges(times), times, most)) or (costs.extents.sizes[number],)


def _filled(
    costs: PointCosts, number: int, operators: Sequence[Operator], counts: tuple[int, ...], most: int
) -> tuple[int, ...]:
    """These counts and as many others as there is room for, evenly spread, where operators have a meaning."""
    others = [c for c in range(1, costs.extents.sizes[number]) if c not in counts]
    room = min(most - len(counts), len(others))
    spread = (others[len(others) * at // room] for at in range(room))
    meant = (c for c in spread if _seconds(costs, operators, Point({number: c})) is not None)
    return tuple(sorted({*counts, *meant}))


def _steps(costs: PointCosts, number: int, operators: Sequence[Operator]) -> Iterator[int]:
    """Counts at which a block of channels is full, where layouts have blocks, and the full count.

    Of very many, those at which several are.
    """
    size = costs.extents.sizes[number]
    block = max((grain(costs.table.choices(op)) for op in operators), default=1)
    several = -(-size // (block * LOOKED_AT))
    yield from range(block * several, size, block * several)
    yield size


def _seconds(costs: PointCosts, operators: Sequence[Operator], point: Point) -> float | None:
    """The sum of the operators' least times; None where one has no meaning at such counts."""
    try:
        choices = [costs.choices(op, point) for op in operators]
    except UnsizedError:
        return None
    return sum(min((choice.seconds for choice in some), default=0.0) for some in choices)


# Edges of steps ------------------------------------------------------------------------------------


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
