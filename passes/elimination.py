"""Minimization of a sum of cost tables over discrete variables, by variable elimination.

Eliminating a variable replaces the tables that mention it by one table over its
neighbours, minimized over the variable (non-serial dynamic programming, Bertele
and Brioschi 1972). The order decides how large the tables get. Ours takes the
variable whose table is smallest; the other one comes from a tree decomposition
by minimal fill-in (networkx) and is tried where ours needs too large a table.
Costs may be infinite: such a combination is forbidden. Where all orders are too
wide, `lower_bound` gives a proven bound and `descend` a local optimum.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import networkx as nx
import numpy as np
from networkx.algorithms.approximation import treewidth_min_fill_in
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


# Orders --------------------------------------------------------------------------------------------


class _Neighbours:
    """Which variables share a table, while variables are eliminated one by one."""

    def __init__(self, sizes: Sequence[int], scopes: Iterable[tuple[int, ...]]) -> None:
        self.sizes = sizes
        self.of: list[set[int]] = [set() for _ in sizes]
        for scope in scopes:
            for a, b in combinations(scope, 2):
                self.of[a].add(b)
                self.of[b].add(a)

    def entries(self, variable: int) -> int:
        """Entries of the table that eliminating the variable needs."""
        return math.prod((self.sizes[v] for v in self.of[variable]), start=self.sizes[variable])

    def eliminate(self, variable: int) -> set[int]:
        """Ties the neighbours of a variable to each other, drops it, and returns them."""
        near = self.of[variable]
        for v in near:
            self.of[v] |= near
            self.of[v] -= {v, variable}
        return near


@dataclass(frozen=True)
class Order:
    """An order of elimination, the entries of its largest table, and how many variables that is over."""

    variables: tuple[int, ...]
    largest: int
    width: int


def smallest_table_order(sizes: Sequence[int], scopes: Iterable[tuple[int, ...]]) -> Order:
    """Eliminates the variable whose table is smallest, again and again."""
    graph = _Neighbours(sizes, scopes)
    queue = [(graph.entries(v), v) for v in range(len(sizes))]
    heapq.heapify(queue)
    order: dict[int, None] = {}
    largest, width = 1, 0
    while queue:
        entries, variable = heapq.heappop(queue)
        if variable in order or entries != graph.entries(variable):
            continue
        order[variable] = None
        largest, width = max((largest, width), (entries, len(graph.of[variable]) + 1))
        for v in graph.eliminate(variable):
            heapq.heappush(queue, (graph.entries(v), v))
    return Order(tuple(order), largest, width)


def min_fill_order(sizes: Sequence[int], scopes: Sequence[tuple[int, ...]]) -> Order:
    """The order that a tree decomposition by minimal fill-in gives: leaves before the root."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(len(sizes)))
    graph.add_edges_from(pair for scope in scopes for pair in combinations(scope, 2))
    order: dict[int, None] = {}
    for part in nx.connected_components(graph):
        _, tree = treewidth_min_fill_in(graph.subgraph(part))
        root = next(iter(tree))
        above = {bag: parent for parent, bag in nx.bfs_edges(tree, root)}
        for bag in nx.dfs_postorder_nodes(tree, root):
            order.update(dict.fromkeys(sorted(bag - above.get(bag, frozenset()))))
    return _measured(sizes, scopes, tuple(order))


def _measured(sizes: Sequence[int], scopes: Iterable[tuple[int, ...]], order: tuple[int, ...]) -> Order:
    graph = _Neighbours(sizes, scopes)
    largest, width = 1, 0
    for variable in order:
        largest, width = max((largest, width), (graph.entries(variable), len(graph.of[variable]) + 1))
        graph.eliminate(variable)
    return Order(order, largest, width)


def best_order(sizes: Sequence[int], tables: Sequence[Table], limit: int = LARGEST_TABLE) -> Order:
    """An order whose tables have at most `limit` entries where one is found, else the one with fewest."""
    scopes = [t.variables for t in tables]
    ours = smallest_table_order(sizes, scopes)
    if ours.largest <= limit:
        return ours
    return min(ours, min_fill_order(sizes, scopes), key=lambda order: order.largest)


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
    order = best_order(sizes, tables, limit)
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

    Elsewhere a variable's tables are split into parts that are each minimized over it alone
    (mini-buckets, Dechter and Rish 2003).
    """
    order = best_order(sizes, tables, limit).variables
    buckets = _Buckets(tables, order)
    for variable in order:
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
