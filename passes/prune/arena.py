"""A limit on the arena, as tables over counts: which counts make the tensors that live together too large.

What lives together follows from the order of the operators. The tables know a lower bound of what the
memory pass needs: tensors as they are row-major, a result in the place of an operand that dies where that is
possible, no workspace and no copies in other layouts. So what they forbid is impossible, and what
they allow is still to be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.ir.graph import Graph, Operator, Value

from ..memory.arena import align
from .domains import Domains
from .extents import Extents, Point
from .weighing import Pair

_IN_PLACE = ("nn.reshape", "nn.concat", "nn.slice")  # results that may be views of operands, or made of them


@dataclass(frozen=True, eq=False)
class _Moment:
    """Values that take arena while an operator runs: those that it does not make, those that it makes,
    and whether the latter may lie where one of the others does."""

    there: tuple[Value, ...]
    made: tuple[Value, ...]
    shares: bool

    def bytes(self, extents: Extents, point: Point) -> int:
        """At least so many are needed."""
        there = _tensors(extents, self.there, point)
        made = _tensors(extents, self.made, point)
        if not made.isdisjoint(there):
            return sum(_bytes(extents, v, point) for v in made | there)
        before, after = (sum(_bytes(extents, v, point) for v in values) for values in (there, made))
        return max(before, after) if self.shares else before + after


def forbidding(extents: Extents, domains: Domains, limit: int) -> Iterator[Pair]:
    """Tables that forbid the counts for which more than `limit` bytes live at the same time."""
    for moment in _moments(extents.graph):
        variables = tuple(
            sorted({v for value in (*moment.there, *moment.made) for v in domains.of_tensor(value)})
        )
        needed = [moment.bytes(extents, point) for point in domains.points(variables)]
        cost = np.where(np.array(needed) > limit, math.inf, 0.0).reshape(domains.shape(variables))
        if not np.isfinite(cost).all():
            yield Pair(variables, cost, np.zeros(cost.shape))


def _moments(graph: Graph) -> Iterator[_Moment]:
    operators = [op for op in graph.operators if op.name != "nn.constant"]
    last = {v: i for i, op in enumerate(operators) for v in op.operands}
    outside = {*graph.inputs, *graph.outputs}
    live: dict[Value, None] = {}
    for i, op in enumerate(operators):
        made = tuple(v for v in op.results if v not in outside)
        dying = [v for v in live if last.get(v, i) == i]
        yield _Moment(tuple(live), made, _shares(op, dying))
        for value in dying:
            del live[value]
        live.update((v, None) for v in made if last.get(v, -1) > i)


def _tensors(extents: Extents, values: Sequence[Value], point: Point) -> set[Value]:
    """The values whose bytes are there."""
    found = (extents.branches.tensor(value, point.gone) for value in values)
    return {value for value in found if value is not None}


def _shares(op: Operator, dying: Sequence[Value]) -> bool:
    """Whether a result may lie on an operand that is no longer needed."""
    if op.name in _IN_PLACE:
        return True
    return any(op.operands[i] in dying for i in op.definition.elementwise(len(op.operands)))


def _bytes(extents: Extents, value: Value, point: Point) -> int:
    return align(math.prod(extents.shape(value, point)) * value.type.dtype.bytes)
