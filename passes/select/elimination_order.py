"""The order in which variables are eliminated, which decides how large the tables of `elimination.py` get.

Ours takes the variable whose table is smallest. Where that needs too large a table, minimal fill-in
(networkx's tree decomposition) is tried: on everything, or on what was left at that moment, if that is small.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

LARGEST_CORE = 300
"""Variables that are left to minimal fill-in; its time grows with their cube (seconds at so many)."""

Scope = tuple[int, ...]


@dataclass(frozen=True)
class Order:
    """An order of elimination, the entries of its largest table, and how many variables that is over.

    Where it was given up at a table too large, the rest follows in some order, and the largest is that table.
    """

    variables: tuple[int, ...]
    largest: int
    width: int


class _Neighbours:
    """Which variables share a table, while variables are eliminated one by one.

    `entries` are those of the table that eliminating a variable needs; they are kept up to date by
    multiplying and dividing, since a variable may have thousands of neighbours.
    """

    def __init__(self, sizes: Sequence[int], scopes: Iterable[Scope]) -> None:
        self.sizes = sizes
        self.of: list[set[int]] = [set() for _ in sizes]
        self.entries = list(sizes)
        for scope in scopes:
            for a, b in combinations(scope, 2):
                self._tie(a, {b})
                self._tie(b, {a})

    def _tie(self, variable: int, others: set[int]) -> None:
        for other in others - self.of[variable]:
            self.of[variable].add(other)
            self.entries[variable] *= self.sizes[other]

    def eliminate(self, variable: int) -> set[int]:
        """Ties the neighbours of a variable to each other, drops it, and returns them."""
        near = self.of[variable]
        for v in near:
            self._tie(v, near - {v})
            self.of[v].discard(variable)
            self.entries[v] //= self.sizes[variable]
        return near


class _Greedy:
    """Eliminates the variable of the smallest table, while that has at most `limit` entries."""

    def __init__(self, graph: _Neighbours, limit: int) -> None:
        self.graph, self.limit = graph, limit
        self.order: dict[int, None] = {}
        self.largest, self.width = 1, 0
        self.queue = [(entries, v) for v, entries in enumerate(graph.entries)]
        heapq.heapify(self.queue)

    def run(self) -> None:
        while self.queue:
            entries, variable = heapq.heappop(self.queue)
            if variable in self.order or entries != self.graph.entries[variable]:
                continue
            width = len(self.graph.of[variable]) + 1
            self.largest, self.width = max((self.largest, self.width), (entries, width))
            if entries > self.limit:
                return
            self.order[variable] = None
            for v in self.graph.eliminate(variable):
                heapq.heappush(self.queue, (self.graph.entries[v], v))

    @property
    def core(self) -> Mapping[int, set[int]]:
        """What is left, each variable with its neighbours."""
        return {v: near for v, near in enumerate(self.graph.of) if v not in self.order}

    @property
    def found(self) -> Order:
        rest = sorted(self.core, key=lambda v: (self.graph.entries[v], v))
        return Order((*self.order, *rest), self.largest, self.width)


def min_fill_order(near: Mapping[int, set[int]]) -> Scope:
    """The order that a tree decomposition by minimal fill-in gives: leaves before the root."""
    import networkx as nx  # takes longer to import than most graphs, whose tables are small, need
    from networkx.algorithms.approximation import treewidth_min_fill_in

    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(near)
    graph.add_edges_from((a, b) for a, others in near.items() for b in others)
    order: dict[int, None] = {}
    for part in nx.connected_components(graph):
        _, tree = treewidth_min_fill_in(graph.subgraph(part))
        root = next(iter(tree))
        above = {bag: parent for parent, bag in nx.bfs_edges(tree, root)}
        for bag in nx.dfs_postorder_nodes(tree, root):
            order.update(dict.fromkeys(sorted(bag - above.get(bag, frozenset()))))
    return tuple(order)


def measured(sizes: Sequence[int], scopes: Iterable[Scope], order: Scope) -> Order:
    """What an order needs."""
    graph = _Neighbours(sizes, scopes)
    largest, width = 1, 0
    for variable in order:
        largest, width = max((largest, width), (graph.entries[variable], len(graph.of[variable]) + 1))
        graph.eliminate(variable)
    return Order(order, largest, width)


def best_order(sizes: Sequence[int], scopes: Sequence[Scope], limit: int) -> Order:
    """An order whose tables have at most `limit` entries where one is found."""
    greedy = _Greedy(_Neighbours(sizes, scopes), limit)
    greedy.run()
    core = greedy.core
    if not core or len(core) > LARGEST_CORE:
        return greedy.found
    if len(sizes) <= LARGEST_CORE:
        other = min_fill_order(dict(enumerate(_Neighbours(sizes, scopes).of)))
    else:
        other = (*greedy.order, *min_fill_order(core))
    return min(greedy.found, measured(sizes, scopes, other), key=lambda order: order.largest)
