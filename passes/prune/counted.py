"""Multiplications and bytes of constants, which add up over a network, as tables over counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from secateur.ir.graph import Graph, Operator, Value, constant_of

from .domains import Domains
from .extents import Extents, Point
from .sizes import UnsizedError, at_shape
from .tables import Row

_Use = tuple[Operator, int]
"""A constant as an operator reads it, by the number of the operand."""


def macs(extents: Extents, domains: Domains) -> Iterator[Row]:
    """Multiply-accumulates, a table an operator."""
    return _by_operator(extents, domains, extents.macs)


def weights(extents: Extents, domains: Domains) -> Iterator[Row]:
    """Bytes of constants, a table an operator, and one for each constant that several uses share.

    Such a constant counts once for all uses that keep the same of it, as `remove` writes it; where the counts
    that this depends on have too many combinations, once for each use.
    """
    shared = [uses for uses in _uses(extents.graph) if len(uses) > 1 and _are_few(domains, uses)]
    apart = {use for uses in shared for use in uses}

    def own(op: Operator, point: Point) -> int:
        extents.macs(op, point)  # whether it has a meaning
        return sum(_bytes(extents, use, point) for use in _constants(op) if use not in apart)

    yield from _by_operator(extents, domains, own)
    for uses in shared:
        variables = domains.of_operands(uses)
        rows = [_shared_bytes(extents, uses, point) for point in domains.points(variables)]
        yield variables, np.array(rows, np.float64).reshape(domains.shape(variables))


COUNTED = {"macs": macs, "weights": weights}
"""By the name that a budget gives the limit."""


def _by_operator(extents: Extents, domains: Domains, of: Callable[[Operator, Point], int]) -> Iterator[Row]:
    """What `of` gives for each operator; infinite where it has no meaning."""

    def counted(op: Operator, point: Point) -> float:
        try:
            return of(op, point)
        except UnsizedError:
            return math.inf

    for op in extents.graph.operators:
        if op.name != "nn.constant":
            variables = domains.of_operator(op)
            rows = [counted(op, point) for point in domains.points(variables)]
            yield variables, np.array(rows, np.float64).reshape(domains.shape(variables))


# Constants -----------------------------------------------------------------------------------------


def _uses(graph: Graph) -> list[list[_Use]]:
    """The uses of each array: constants of their own (`with_own_constants`) may hold the same one."""
    found: dict[int, list[_Use]] = {}
    for use in (use for op in graph.operators for use in _constants(op)):
        found.setdefault(id(constant_of(_value(use))), []).append(use)
    return list(found.values())


def _constants(op: Operator) -> list[_Use]:
    return [(op, port) for port, value in enumerate(op.operands) if value.is_constant]


def _value(use: _Use) -> Value:
    op, port = use
    return op.operands[port]


def _are_few(domains: Domains, uses: Iterable[_Use]) -> bool:
    return domains.are_few(g for use in uses for groups in domains.extents.of(_value(use)) for g in groups)


def _shared_bytes(extents: Extents, uses: Iterable[_Use], point: Point) -> int:
    """Every different part of an array that its uses keep, once."""
    staying = [use for use in uses if _stays(extents, use, point)]
    parts = {_part(extents, _value(use), point): _bytes(extents, use, point) for use in staying}
    return sum(parts.values())


def _part(extents: Extents, value: Value, point: Point) -> tuple[bytes, ...]:
    """The indices of each axis that stay."""
    return tuple(extents.kept(value, axis, point).tobytes() for axis in range(value.type.rank))


def _bytes(extents: Extents, use: _Use, point: Point) -> int:
    value = _value(use)
    return at_shape(value, extents.shape(value, point)).type.bytes if _stays(extents, use, point) else 0


def _stays(extents: Extents, use: _Use, point: Point) -> bool:
    op, port = use
    left = extents.branches.left(op, point.gone)
    return left is None or (not left.is_operand and port in left.operands)
