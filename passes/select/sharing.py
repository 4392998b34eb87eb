"""Which tensors share bytes: the buffers of the arena at one moment, as `passes.memory.liveness` makes them.

A buffer holds the tensors that are still needed and where each begins in it.
Nothing here knows the future but `dying`, the tensors nobody needs after the
step in hand; so the same rules serve a walk along one plan and the search over all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from ..memory.arena import ALIGNMENT, align, union_length
from .problem import Problem, Sharing, Tensor, Way


class Buffer(NamedTuple):
    """`size` bytes, and the tensors in it with the offset of each."""

    size: int
    members: tuple[tuple[Tensor, int], ...]

    @staticmethod
    def of(size: int, members: Iterable[tuple[Tensor, int]]) -> Buffer:
        return Buffer(size, tuple(sorted(members)))


Buffers = tuple[Buffer, ...]


def live_bytes(problem: Problem, buffers: Buffers) -> int:
    """Bytes that hold something."""
    total = 0
    for buffer in buffers:
        ranges = [(at, at + problem.arena_bytes(tensor)) for tensor, at in buffer.members]
        total += union_length(ranges) if len(ranges) > 1 else ranges[0][1] - ranges[0][0]
    return total


def without(buffers: Buffers, dying: Collection[Tensor]) -> Buffers:
    """The buffers once some tensors are needed no more."""
    if not dying:
        return buffers
    left = (Buffer(b.size, tuple(m for m in b.members if m[0] not in dying)) for b in buffers)
    return tuple(b for b in left if b.members)


def with_own(problem: Problem, buffers: Buffers, tensor: Tensor) -> Buffers:
    """The buffers and one for `tensor` alone, unless that lies outside the arena."""
    size = problem.arena_bytes(tensor)
    return (*buffers, Buffer(size, ((tensor, 0),))) if size else buffers


def with_results(
    problem: Problem,
    buffers: Buffers,
    way: Way,
    operands: Sequence[Tensor],
    results: Sequence[Tensor],
    dying: Collection[Tensor],
) -> Buffers:
    """The buffers while a step runs, its results among them."""
    shared = None
    if len(results) == 1 and problem.arena_bytes(results[0]):
        shared = _shared(problem, buffers, way, operands, results[0], dying)
    if shared is not None:
        return shared
    for result in results:
        buffers = with_own(problem, buffers, result)
    return buffers


def _shared(
    problem: Problem,
    buffers: Buffers,
    way: Way,
    operands: Sequence[Tensor],
    result: Tensor,
    dying: Collection[Tensor],
) -> Buffers | None:
    """The buffers with the result in its operands' bytes, None where it needs its own."""
    places = _places(buffers, operands)
    if way.sharing is Sharing.JOIN:
        joined = _joined(problem, buffers, operands, places, result)
        if joined is not None:
            return joined
    host = None
    if way.sharing is Sharing.VIEW:
        host = places[0] if places else None
    else:
        fitting = (i for i in way.in_place if _overwritable(buffers, places, i, way, dying))
        host = next((places[i] for i in fitting), None)
    if host is None:
        return None
    number, at = host
    size = max(buffers[number].size, at + problem.arena_bytes(result))
    grown = Buffer.of(size, (*buffers[number].members, (result, at)))
    return (*buffers[:number], grown, *buffers[number + 1 :])


def _places(buffers: Buffers, operands: Sequence[Tensor]) -> list[tuple[int, int] | None]:
    """The buffer of each operand and its offset there, None outside the arena."""
    where = {t: (i, at) for i, b in enumerate(buffers) for t, at in b.members}
    return [where.get(t) for t in operands]


def _overwritable(
    buffers: Buffers,
    places: Sequence[tuple[int, int] | None],
    operand: int,
    way: Way,
    dying: Collection[Tensor],
) -> bool:
    """Whether nothing needs the operand's buffer after the step, nor reads it otherwise there."""
    place = places[operand]
    if place is None or any(tensor not in dying for tensor, _ in buffers[place[0]].members):
        return False
    return all(i in way.in_place for i, p in enumerate(places) if p is not None and p[0] == place[0])


def _joined(
    problem: Problem,
    buffers: Buffers,
    operands: Sequence[Tensor],
    places: Sequence[tuple[int, int] | None],
    result: Tensor,
) -> Buffers | None:
    """The operands' buffers merged so that they lie one after the other, None where two wishes clash."""
    moves: dict[int, int] = {}
    sizes = [problem.bytes[v][layout] for v, layout in operands]
    for place, start in zip(places, accumulate([0, *sizes[:-1]]), strict=True):
        if place is None or start % ALIGNMENT:
            return None
        shift = start - place[1]
        if shift < 0 or moves.setdefault(place[0], shift) != shift:
            return None
    extents = sorted((shift, shift + buffers[i].size) for i, shift in moves.items())
    if any(low < high for (_, high), (low, _) in pairwise(extents)):
        return None
    members = [(t, at + shift) for i, shift in moves.items() for t, at in buffers[i].members]
    size = max(extents[-1][1], align(problem.bytes[result[0]][result[1]]))
    rest = (b for i, b in enumerate(buffers) if i not in moves)
    return (*rest, Buffer.of(size, (*members, (result, 0))))
