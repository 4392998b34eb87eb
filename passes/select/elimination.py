"""Minimization of a sum of cost tables over discrete variables, by variable elimination.

Eliminating a variable replaces the tables that mention it by one table over its
neighbours, minimized over the variable (non-serial dynamic programming, Bertele
and Brioschi 1972). Costs may be infinite: such a combination is forbidden. Where
all orders are too wide (`elimination_order.py`), `lower_bound` gives a proven
bound and `descend` a local optimum.

A variable of one value never counts: its axis is taken out of every table first,
so that tables have at most as many axes as their entries have binary digits (and
NumPy's limit of 64 is out of reach).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .elimination_order import Order, best_order

Costs = NDArray[np.float64]
LARGEST_TABLE = 1 << 22  # entries
LARGEST_PART = 1 << 14  # entries of a part, where a bound must do: there may be thousands of parts


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


def order_of(sizes: Sequence[int], tables: Sequence[Table], limit: int = LARGEST_TABLE) -> Order:
    """The order in which `minimize` eliminates; its `largest` tells whether that is possible."""
    return best_order(sizes, [t.variables for t in _counting(sizes, tables)], limit)


def _counting(sizes: Sequence[int], tables: Sequence[Table]) -> list[Table]:
    """The tables over their variables of more than one value."""
    return [_without_axes(t, tuple(sizes[v] > 1 for v in t.variables)) for t in tables]


def _without_axes(table: Table, kept: tuple[bool, ...]) -> Table:
    if all(kept):
        return table
    index = tuple(slice(None) if k else 0 for k in kept)
    return Table(
        tuple(v for v, k in zip(table.variables, kept, strict=True) if k), np.asarray(table.costs[index])
    )


# Elimination ---------------------------------------------------------------------------------------


def _aligned(table: Table, scope: tuple[int, ...]) -> Costs:
    """The table's costs with one axis for each variable of `scope`, broadcastable."""
    order = sorted(range(len(table.variables)), key=lambda i: scope.index(table.variables[i]))
    sizes = iter(table.costs.shape[i] for i in order)
    shape = [next(sizes) if v in table.variables else 1 for v in scope]
    return table.costs.transpose(order).reshape(shape)


def _joined(variable: int, size: int, tables: Sequence[Table]) -> Table:
    """The sum of tables, the variable's axis last."""
    others = {v for t in tables for v in t.variables} - {variable}
    scope = (*sorted(others), variable)
    total: Costs = np.zeros((1,) * (len(scope) - 1) + (size,))
    for table in tables:
        total = total + _aligned(table, scope)
    return Table(scope, total)


class _Buckets:
    """The tables, each where its first variable in the order is eliminated."""

    def __init__(self, tables: Iterable[Table], order: Sequence[int]) -> None:
        self.position = {v: i for i, v in enumerate(order)}
        self.of: dict[int, list[Table]] = {v: [] for v in order}
        self.constant = 0.0
        for table in tables:
            self.add(table)

    def add(self, table: Table) -> None:
        if table.variables:
            self.of[min(table.variables, key=self.position.__getitem__)].append(table)
        else:
            self.constant += float(table.costs)


def minimize(sizes: Sequence[int], tables: Sequence[Table], limit: int = LARGEST_TABLE) -> list[int]:
    """An assignment of least total cost: variable v takes a value in range(sizes[v]).

    Raises TooWideError where a table of more than `limit` entries would be needed.
    """
    tables = _counting(sizes, tables)
    order = order_of(sizes, tables, limit)
    if order.largest > limit:
        raise TooWideError(f"a table over {order.width} variables is needed")
    buckets = _Buckets(tables, order.variables)
    steps: list[tuple[int, tuple[int, ...], NDArray[np.intp]]] = []
    for variable in order.variables:
        joined = _joined(variable, sizes[variable], buckets.of.pop(variable))
        steps.append((variable, joined.variables[:-1], joined.costs.argmin(axis=-1)))
        buckets.add(Table(joined.variables[:-1], joined.costs.min(axis=-1)))
    return _assign(len(sizes), steps)


def _assign(count: int, steps: Sequence[tuple[int, tuple[int, ...], NDArray[np.intp]]]) -> list[int]:
    """Reads the minimizing values back in reverse order of elimination."""
    values = [0] * count
    for variable, neighbours, best in reversed(steps):
        values[variable] = int(best[tuple(values[v] for v in neighbours)])
    return values


# Where every order is too wide ---------------------------------------------------------------------


def lower_bound(sizes: Sequence[int], tables: Sequence[Table], limit: int = LARGEST_TABLE) -> float:
    """No assignment costs less: the optimum where an order's tables have at most `limit` entries.

    Elsewhere a variable's tables are split into smaller parts that are each minimized over it alone
    (mini-buckets, Dechter and Rish 2003).
    """
    tables = _counting(sizes, tables)
    order = order_of(sizes, tables, limit)
    if order.largest > limit:
        limit = min(limit, LARGEST_PART)
    buckets = _Buckets(tables, order.variables)
    for variable in order.variables:
        for part in _parts(sizes, buckets.of.pop(variable), limit):
            joined = _joined(variable, sizes[variable], part)
            buckets.add(Table(joined.variables[:-1], joined.costs.min(axis=-1)))
    return buckets.constant


def _parts(sizes: Sequence[int], tables: Sequence[Table], limit: int) -> list[list[Table]]:
    """The tables in parts that together have at most `limit` entries; the widest are placed first."""
    parts: list[tuple[set[int], list[Table]]] = []
    for table in sorted(tables, key=lambda t: -t.costs.size):
        for scope, part in parts:
            if math.prod(sizes[v] for v in scope | set(table.variables)) <= limit:
                scope |= set(table.variables)
                part.append(table)
                break
        else:
            parts.append((set(table.variables), [table]))
    return [part for _, part in parts]


def descend(sizes: Sequence[int], tables: Sequence[Table], start: Sequence[int]) -> list[int]:
    """An assignment that no change of one variable improves, for graphs too wide for `minimize`.

    `start` must have a finite cost (iterated conditional modes, Besag 1986).
    """
    of: list[list[Table]] = [[] for _ in sizes]
    for table in tables:
        for v in table.variables:
            of[v].append(table)
    values, changed = list(start), True
    while changed:
        changed = False
        for v, size in enumerate(sizes):
            costs = sum((_given(t, v, values) for t in of[v]), np.zeros(size))
            if costs.min() < costs[values[v]]:
                values[v], changed = int(costs.argmin()), True
    return values


def _given(table: Table, variable: int, values: Sequence[int]) -> Costs:
    """The table's costs by `variable` alone, all others as in `values`."""
    index = tuple(slice(None) if v == variable else values[v] for v in table.variables)
    costs: Costs = table.costs[index]
    return costs
