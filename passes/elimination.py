"""Exact minimization of a sum of cost tables over discrete variables, by variable elimination.

Eliminating a variable replaces the tables that mention it by one table over its
neighbours, minimized over the variable (non-serial dynamic programming, Bertele
and Brioschi 1972). The next variable is always the one whose table will be
smallest, so chains, residual blocks and Inception modules need tables over two
or three variables only. Costs may be infinite: such a combination is forbidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]
LARGEST_TABLE = 1 << 22  # entries


class TooWideError(ValueError):
    """The graph needs a table larger than the caller allows."""


@dataclass(frozen=True, eq=False)
class Table:
    """Costs over `variables`; axis i of `costs` is the domain of variable i."""

    variables: tuple[int, ...]
    costs: Costs

    def __post_init__(self) -> None:
        if self.costs.ndim != len(self.variables):
            raise ValueError(f"a table over {self.variables} needs as many axes, has {self.costs.ndim}")


def _scope(variable: int, tables: Sequence[Table]) -> tuple[int, ...]:
    """The neighbours of `variable`, then itself."""
    others = {v for t in tables for v in t.variables} - {variable}
    return (*sorted(others), variable)


def _aligned(table: Table, scope: tuple[int, ...]) -> Costs:
    """The table's costs with one axis for each variable of `scope`, broadcastable."""
    order = sorted(range(len(table.variables)), key=lambda i: scope.index(table.variables[i]))
    sizes = iter(table.costs.shape[i] for i in order)
    shape = [next(sizes) if v in table.variables else 1 for v in scope]
    return table.costs.transpose(order).reshape(shape)


def _joined(variable: int, size: int, tables: Sequence[Table]) -> tuple[tuple[int, ...], Costs]:
    scope = _scope(variable, tables)
    total: Costs = np.zeros((1,) * (len(scope) - 1) + (size,))
    for table in tables:
        total = total + _aligned(table, scope)
    return scope, total


def _size(variable: int, sizes: Sequence[int], tables: Mapping[int, list[Table]]) -> int:
    return int(np.prod([float(sizes[v]) for v in _scope(variable, tables[variable])]))


def minimize(sizes: Sequence[int], tables: Sequence[Table], limit: int = LARGEST_TABLE) -> list[int]:
    """An assignment of least total cost: variable v takes a value in range(sizes[v]).

    Raises TooWideError where a table of more than `limit` entries would be needed.
    """
    of: dict[int, list[Table]] = {v: [t for t in tables if v in t.variables] for v in range(len(sizes))}
    steps: list[tuple[int, tuple[int, ...], NDArray[np.intp]]] = []
    costs_of = {v: _size(v, sizes, of) for v in of}
    while of:
        variable = min(costs_of, key=lambda v: costs_of[v])
        if costs_of.pop(variable) > limit:
            raise TooWideError(f"a table over {len(_scope(variable, of[variable]))} variables is needed")
        scope, joined = _joined(variable, sizes[variable], of[variable])
        steps.append((variable, scope[:-1], joined.argmin(axis=-1)))
        _replace(of, variable, Table(scope[:-1], joined.min(axis=-1)))
        costs_of.update({v: _size(v, sizes, of) for v in scope[:-1]})
    return _assign(len(sizes), steps)


def _replace(of: dict[int, list[Table]], variable: int, reduced: Table) -> None:
    """Drops `variable` and its tables; its neighbours get the reduced one."""
    gone = set(map(id, of.pop(variable)))
    for neighbour in reduced.variables:
        of[neighbour] = [*(t for t in of[neighbour] if id(t) not in gone), reduced]


def _assign(count: int, steps: Sequence[tuple[int, tuple[int, ...], NDArray[np.intp]]]) -> list[int]:
    """Reads the minimizing values back in reverse order of elimination."""
    values = [0] * count
    for variable, neighbours, best in reversed(steps):
        values[variable] = int(best[tuple(values[v] for v in neighbours)])
    return values


def descend(sizes: Sequence[int], tables: Sequence[Table], start: Sequence[int]) -> list[int]:
    """An assignment that no change of one variable improves, for graphs too wide for `minimize`.

    `start` must have a finite cost (iterated conditional modes, Besag 1986).
    """
    of = {v: [t for t in tables if v in t.variables] for v in range(len(sizes))}
    values, changed = list(start), True
    while changed:
        changed = False
        for v in of:
            costs = sum((_given(t, v, values) for t in of[v]), np.zeros(sizes[v]))
            if costs.min() < costs[values[v]]:
                values[v], changed = int(costs.argmin()), True
    return values


def _given(table: Table, variable: int, values: Sequence[int]) -> Costs:
    """The table's costs by `variable` alone, all others as in `values`."""
    index = tuple(slice(None) if v == variable else values[v] for v in table.variables)
    costs: Costs = table.costs[index]
    return costs
