"""Least cost under a limit on a second sum, over discrete variables: elimination whose tables hold labels.

Eliminating a variable joins the tables that mention it, as in `select/elimination.py`; but where a table
there holds a number for each state of its variables, here it holds labels: the pairs (cost, toll) of the
states' undominated partial answers. Nearly all labels are cut by what is still to come at least: of cost, of
toll, and of cost plus toll at the Lagrangian price, which two sweeps over the tree of tables give (towards
the root, and back). The Lagrangian relaxation also gives the first answer to beat (Handler and Zang 1980).

A tree of tables has one node a variable, in the order of elimination; a root of no variables joins the parts
of a graph that do not hang together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..select.dominance import undominated
from ..select.elimination import LARGEST_TABLE, TooWideError
from ..select.elimination_order import best_order
from ..select.sweeps import TIES
from ..select.trellis import ranges

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_LABELS = 2_000_000  # made at one joining
_ROOT = -1
_GRIDS = (1 << 8, 1 << 11, 1 << 14)  # steps of the grids that costs are rounded to, of the least cost known


@dataclass(frozen=True, eq=False)
class Pair:
    """Costs and tolls over `variables`; axis i of both is the domain of variable i. Infinity forbids."""

    variables: tuple[int, ...]
    cost: Floats
    toll: Floats


@dataclass(frozen=True)
class Answer:
    """An assignment, its sums, and a cost that no assignment within the limit is below.

    `resolution` is 0 where costs were summed as they are; else the answer's cost is above the least by no
    more than that.
    """

    values: tuple[int, ...]
    cost: float
    toll: float
    bound: float
    resolution: float = 0.0


class BeyondError(ValueError):
    """No assignment keeps the limit; `least` is the smallest toll that one has."""

    def __init__(self, least: float) -> None:
        super().__init__(f"no assignment has a toll below {least:g}")
        self.least = least


class _TooManyError(ValueError):
    """A joining makes more labels than are allowed."""


def weighed(sizes: Sequence[int], tables: Iterable[Pair], limit: float, most: int = MOST_LABELS) -> Answer:
    """The assignment of least cost whose toll is at most `limit`.

    Where a joining makes more than `most` labels, costs are rounded up to a grid, which the answer's
    `resolution` accounts for. BeyondError where nothing keeps the limit; TooWideError where a table has
    more than a few million entries. Neither costs nor tolls may be negative.
    """
    tables = list(tables)
    if any((table.cost < 0).any() or (table.toll < 0).any() for table in tables):
        raise ValueError("costs and tolls are sums of what is not negative")
    tree = Tree(sizes, tables)
    found, price, bound = _relaxed(tree, limit)
    if not price:
        return _answer(found, bound)
    try:
        best = tree.search(limit, price, found.cost, most)
        return _answer(best or found, (best or found).cost)
    except _TooManyError:
        return _rounded(tree, limit, price, found, bound, most)


@dataclass(frozen=True)
class Found:
    """An assignment and its sums."""

    values: tuple[int, ...]
    cost: float
    toll: float

    def priced(self, price: float) -> float:
        return self.cost + price * self.toll


def _answer(found: Found, bound: float, resolution: float = 0.0) -> Answer:
    return Answer(found.values, found.cost, found.toll, min(bound, found.cost), resolution)


def _relaxed(tree: Tree, limit: float) -> tuple[Found, float, float]:
    """The best assignment within the limit that a price of toll gives, the price, and its bound.

    The price is 0 where the assignment of least cost keeps the limit.
    """
    cheap, frugal = tree.least(1.0, 0.0), tree.least(0.0, 1.0)
    if frugal.toll > limit * (1 + TIES):
        raise BeyondError(frugal.toll)
    if cheap.toll <= limit * (1 + TIES):
        return cheap, 0.0, cheap.cost
    while True:
        price = (frugal.cost - cheap.cost) / (cheap.toll - frugal.toll)
        if price <= 0:
            return frugal, 0.0, frugal.cost
        between = tree.least(1.0, price)
        bound = between.priced(price) - price * limit
        if between.priced(price) >= cheap.priced(price) * (1 - TIES):
            return frugal, price, bound
        cheap, frugal = (between, frugal) if between.toll > limit else (cheap, between)


def _rounded(tree: Tree, limit: float, price: float, found: Found, bound: float, most: int) -> Answer:
    """The answer with costs on a grid, the finest for which labels are few enough.

    Each grid's answer is what the next finer one has to beat, and last of all the search without a grid.
    """
    best, off = found, np.inf
    for steps in _GRIDS:
        step = best.cost / steps
        grid = tree.on_grid(step)
        try:
            better = grid.search(limit, price, grid.cost_of(best.values), most)
        except _TooManyError:
            return _answer(best, max(bound, best.cost - off), min(off, best.cost - bound))
        best = min(best, best if better is None else tree.found(better.values), key=lambda f: f.cost)
        off = step * tree.costly
    try:
        better = tree.search(limit, price, best.cost, most)
    except _TooManyError:
        return _answer(best, max(bound, best.cost - off), min(off, best.cost - bound))
    return _answer(better or best, (better or best).cost)


# The tree ------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Node:
    """A variable's elimination: it is the last of `scope`; the tables that join there, and whose messages."""

    variable: int
    scope: tuple[int, ...]
    own: list[Pair] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    parent: int = _ROOT

    @property
    def others(self) -> tuple[int, ...]:
        """What the message is over."""
        return self.scope if self.variable == _ROOT else self.scope[:-1]


class Tree:
    """Tables in the order of an elimination."""

    def __init__(self, sizes: Sequence[int], tables: Iterable[Pair]) -> None:
        self.sizes, self.tables = tuple(sizes), tuple(_squeezed(t, sizes) for t in tables)
        order = best_order(sizes, [t.variables for t in self.tables], LARGEST_TABLE)
        if order.largest > LARGEST_TABLE:
            raise TooWideError(f"a table over {order.width} counts and choices is needed")
        self.nodes: dict[int, _Node] = {}
        self._grow(order.variables)

    @property
    def costly(self) -> int:
        """How many tables have any cost."""
        return sum(bool((t.cost[np.isfinite(t.cost)] > 0).any()) for t in self.tables)

    def on_grid(self, step: float) -> Tree:
        """The same tree with costs rounded up to multiples of `step`."""
        tables = (replace(t, cost=np.ceil(t.cost / step - TIES) * step) for t in self.tables)
        return Tree(self.sizes, tables)

    def _grow(self, order: Sequence[int]) -> None:
        place = {v: i for i, v in enumerate(order)}
        waiting: dict[int, list[Pair]] = {v: [] for v in (*order, _ROOT)}
        below: dict[int, list[int]] = {v: [] for v in (*order, _ROOT)}
        scopes: dict[int, set[int]] = {v: set() for v in (*order, _ROOT)}

        def first(variables: Iterable[int]) -> int:
            return min(variables, key=place.__getitem__, default=_ROOT)

        for table in self.tables:
            at = first(table.variables)
            waiting[at].append(table)
            scopes[at] |= set(table.variables)
        for v in order:
            others = tuple(sorted(scopes[v] - {v}))
            parent = first(others)
            scopes[parent] |= set(others)
            below[parent].append(v)
            self.nodes[v] = _Node(v, (*others, v), waiting[v], below[v], parent)
        self.nodes[_ROOT] = _Node(_ROOT, (), waiting[_ROOT], below[_ROOT])

    # Numbers: one for each state

    def least(self, cost: float, toll: float) -> Found:
        """An assignment of least cost and toll so weighed."""
        messages = self.messages(cost, toll)
        values = [0] * len(self.sizes)
        for v in reversed(list(self.nodes)[:-1]):
            node = self.nodes[v]
            joint = self._joint(node, cost, toll, messages)
            at = tuple(values[u] for u in node.others)
            values[v] = int(joint[at].argmin())
        return self.found(tuple(values))

    def found(self, values: tuple[int, ...]) -> Found:
        """An assignment with its sums."""
        at = [tuple(values[v] for v in t.variables) for t in self.tables]
        cost = sum(float(t.cost[i]) for t, i in zip(self.tables, at, strict=True))
        return Found(values, cost, sum(float(t.toll[i]) for t, i in zip(self.tables, at, strict=True)))

    def cost_of(self, values: tuple[int, ...]) -> float:
        return self.found(values).cost

    def messages(self, cost: float, toll: float) -> dict[int, Floats]:
        """For each variable: the least sum of what lies below it, by its message's variables."""
        found: dict[int, Floats] = {}
        for v, node in self.nodes.items():
            joint = self._joint(node, cost, toll, found)
            found[v] = joint.min(axis=-1) if v != _ROOT else joint
        return found

    def _joint(self, node: _Node, cost: float, toll: float, messages: dict[int, Floats]) -> Floats:
        total: Floats = np.zeros(self.shape(node.scope))
        for table in node.own:
            total = total + aligned(table.variables, _mixed(table, cost, toll), node.scope)
        for child in node.children:
            total = total + aligned(self.nodes[child].others, messages[child], node.scope)
        return total

    def outside(self, cost: float, toll: float, messages: dict[int, Floats]) -> dict[int, Floats]:
        """For each variable: the least sum of everything but what its message holds, by its variables."""
        found: dict[int, Floats] = {_ROOT: np.zeros(())}
        for v in reversed(list(self.nodes)):
            node = self.nodes[v]
            above = found[v][..., None] if v != _ROOT else found[v]
            for child in node.children:
                rest = above + self._joint(replace(node, children=[]), cost, toll, messages)
                for other in node.children:
                    if other != child:
                        rest = rest + aligned(self.nodes[other].others, messages[other], node.scope)
                found[child] = self._least_over(rest, node.scope, self.nodes[child].others)
        return found

    @staticmethod
    def _least_over(costs: Floats, scope: tuple[int, ...], kept: tuple[int, ...]) -> Floats:
        """The minimum over all variables of `scope` that are not `kept`."""
        dropped = tuple(i for i, v in enumerate(scope) if v not in kept)
        least: Floats = costs.min(axis=dropped)
        left = [v for v in scope if v in kept]
        return least.transpose([left.index(v) for v in kept])

    def shape(self, variables: Sequence[int]) -> tuple[int, ...]:
        return tuple(self.sizes[v] for v in variables)

    # Labels: several for each state

    def search(self, limit: float, price: float, beat: float, most: int) -> Found | None:
        """The assignment of least cost within the limit, if that is below `beat`."""
        return _Search(self, limit, price, beat, most).run()


def _squeezed(table: Pair, sizes: Sequence[int]) -> Pair:
    """The table over its variables of more than one value, cost and toll infinite in the same places."""
    table = _forbidding(table)
    kept = [sizes[v] > 1 for v in table.variables]
    if all(kept):
        return table
    index = tuple(slice(None) if k else 0 for k in kept)
    variables = tuple(v for v, k in zip(table.variables, kept, strict=True) if k)
    return Pair(variables, np.asarray(table.cost[index]), np.asarray(table.toll[index]))


def _forbidding(table: Pair) -> Pair:
    fine = np.isfinite(table.cost) & np.isfinite(table.toll)
    if fine.all():
        return table
    return Pair(table.variables, *(np.where(fine, row, np.inf) for row in (table.cost, table.toll)))


def _mixed(table: Pair, cost: float, toll: float) -> Floats:
    """Cost and toll so weighed; what is forbidden stays so."""
    if not toll or not cost:
        return table.cost * cost if cost else table.toll * toll
    return table.cost * cost + table.toll * toll


def aligned(variables: tuple[int, ...], costs: NDArray[Any], scope: tuple[int, ...]) -> NDArray[Any]:
    """Costs with one axis for each variable of `scope`, broadcastable."""
    order = sorted(range(len(variables)), key=lambda i: scope.index(variables[i]))
    sizes = iter([costs.shape[i] for i in order])
    return costs.transpose(order).reshape([next(sizes) if v in variables else 1 for v in scope])


@dataclass(frozen=True, eq=False)
class _Labels:
    """Partial answers by state, which they are sorted by; `parent` numbers those that they were made from,
    `child` the labels of the child's message that came in last."""

    state: Ints
    cost: Floats
    toll: Floats
    parent: Ints
    child: Ints

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> _Labels:
        state, parent, child = (row[which] for row in (self.state, self.parent, self.child))
        return _Labels(state, self.cost[which], self.toll[which], parent, child)


class _Search:
    """Labels from the leaves to the root."""

    def __init__(self, tree: Tree, limit: float, price: float, beat: float, most: int) -> None:
        self.tree, self.limit, self.price, self.beat, self.most = tree, limit, price, beat, most
        self.weights = ((1.0, 0.0), (0.0, 1.0), (1.0, price))
        self.messages = [tree.messages(*w) for w in self.weights]
        self.outside = [tree.outside(*w, m) for w, m in zip(self.weights, self.messages, strict=True)]
        self.stages: dict[int, list[_Labels]] = {}
        self.made = 0

    def run(self) -> Found | None:
        for node in self.tree.nodes.values():
            self.stages[node.variable] = self._join(node)
        last = self.stages[_ROOT][-1]
        if not len(last.state):
            return None
        values = [0] * len(self.tree.sizes)
        self._trace(_ROOT, int(last.cost.argmin()), values)
        return self.tree.found(tuple(values))

    def _join(self, node: _Node) -> list[_Labels]:
        """A node's labels: of its own tables, with one child's message after the other, and its message."""
        stages = [self._kept(node, self._own(node), node.children)]
        for i, child in enumerate(node.children):
            made = self._with(stages[-1], node, child)
            stages.append(self._kept(node, made, node.children[i + 1 :]))
        if node.variable != _ROOT:
            last = stages[-1]
            over = last.state // self.tree.sizes[node.variable]
            numbers = np.arange(len(over))
            stages.append(_undominated(_Labels(over, last.cost, last.toll, numbers, numbers)))
        return stages

    def _own(self, node: _Node) -> _Labels:
        cost: Floats = np.zeros(self.tree.shape(node.scope))
        toll: Floats = np.zeros(self.tree.shape(node.scope))
        for table in node.own:
            cost = cost + aligned(table.variables, table.cost, node.scope)
            toll = toll + aligned(table.variables, table.toll, node.scope)
        cost, toll = cost.reshape(-1), toll.reshape(-1)
        state = np.flatnonzero(np.isfinite(cost) & np.isfinite(toll))
        return _Labels(state, cost[state], toll[state], state, state)

    def _with(self, labels: _Labels, node: _Node, child: int) -> _Labels:
        """Every label with every label of the child's message at its state."""
        message, below = self.stages[child][-1], self.tree.nodes[child]
        shape = self.tree.shape(below.others)
        places = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
        of = np.broadcast_to(aligned(below.others, places, node.scope), self.tree.shape(node.scope))
        state = of.reshape(-1)[labels.state]
        starts = np.searchsorted(message.state, np.arange(places.size + 1))
        counts = np.diff(starts)[state]
        if counts.sum() > self.most:
            raise _TooManyError(f"{counts.sum()} labels")
        taken = ranges(starts[:-1][state], counts)
        parent = np.repeat(np.arange(len(counts)), counts)
        self.made += len(parent)
        return _Labels(
            labels.state[parent],
            labels.cost[parent] + message.cost[taken],
            labels.toll[parent] + message.toll[taken],
            parent,
            taken,
        )

    def _kept(self, node: _Node, labels: _Labels, left: Sequence[int]) -> _Labels:
        """The labels that may become the answer, the undominated ones of each state; `left` are children."""
        cost, toll, both = (self._to_come(node, labels, left, i) for i in range(3))
        good = labels.cost + cost < self.beat * (1 - TIES)
        good &= labels.toll + toll <= self.limit * (1 + TIES)
        total = labels.cost + self.price * (labels.toll - self.limit) + both
        good &= total < self.beat * (1 - TIES)
        return _undominated(labels.chosen(good))

    def _to_come(self, node: _Node, labels: _Labels, left: Sequence[int], weighing: int) -> Floats:
        """At least, by label: what the children left and the rest of the tree add."""
        outside = self.outside[weighing][node.variable]
        total = outside[..., None] if node.variable != _ROOT else outside
        total = np.broadcast_to(total, self.tree.shape(node.scope))
        for child in left:
            message = self.messages[weighing][child]
            total = total + aligned(self.tree.nodes[child].others, message, node.scope)
        found: Floats = total.reshape(-1)[labels.state]
        return found

    def _trace(self, variable: int, label: int, values: list[int]) -> None:
        """Reads the values below a label of a node's message."""
        pending = [(variable, label)]
        while pending:
            variable, label = pending.pop()
            node, stages = self.tree.nodes[variable], self.stages[variable]
            if variable != _ROOT:
                label = int(stages[-1].parent[label])
                values[variable] = int(stages[-2].state[label]) % self.tree.sizes[variable]
                stages = stages[:-1]
            for child, stage in zip(reversed(node.children), reversed(stages[1:]), strict=True):
                pending.append((child, int(stage.child[label])))
                label = int(stage.parent[label])


def _undominated(labels: _Labels) -> _Labels:
    return labels.chosen(undominated(labels.state, labels.cost, labels.toll))
