"""Extents of every axis where groups keep so many of their units; operators and graphs of these extents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import gcd

import numpy as np
from numpy.typing import NDArray

from secateur.ir.axes import Axis, Narrowing, Ports
from secateur.ir.channels import NONE
from secateur.ir.channels.relations import port_value, ports_of
from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import create

from .bypasses import Branches, Bypass, Left
from .curves import Curve
from .sizes import Attributes, Shape, Signature, at_shape, resized, result_types, signature, typed

Ints = NDArray[np.int64]


Sum = tuple[tuple[int, int], ...]
"""Groups along an axis, and how often the units of each count in the sum over them."""


@dataclass(frozen=True)
class Point:
    """How many units groups keep, by number; those that are not there keep all.

    `sums` says what the groups of an axis keep together, where that is all that counts; `gone` are the
    numbers of the branches that go.
    """

    counts: Mapping[int, int]
    sums: Mapping[Sum, int] = field(default_factory=dict)
    gone: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class _Along:
    """A group along an axis: the unit of each index, and how many indices k units take, for each k."""

    group: int
    units: NDArray[np.int32]
    indices: tuple[int, ...]

    @cached_property
    def each(self) -> int | None:
        """Indices that every unit takes; None where they differ."""
        steps = set(np.diff(self.indices).tolist())
        return steps.pop() if len(steps) == 1 else None


class Extents:
    """Of the values of a graph, by the counts of the groups of some curves (their place is their number) and
    by which of the branches that may go do."""

    def __init__(self, graph: Graph, curves: Sequence[Curve], bypasses: Sequence[Bypass] = ()) -> None:
        self.graph, self.curves = graph, tuple(curves)
        self.branches = Branches(bypasses)
        self._along: dict[tuple[Value, int], list[_Along]] = {}
        self._ranks = [np.argsort(c.order) for c in curves]
        for number, one in enumerate(curves):
            for member in one.group.members:
                self._add(number, member.value, member.axis, member.units)
        for found in self._along.values():
            found.sort(key=lambda a: int(np.argmax(a.units != NONE)))
        self._axes: dict[Value, list[int]] = {}
        for value, axis in self._along:
            self._axes.setdefault(value, []).append(axis)
        self._sums: dict[tuple[Value, int], tuple[Sum | None, int]] = {}
        self._ports: dict[Operator, Ports] = {}
        self._signatures: dict[Operator, Signature] = {}

    def _add(self, number: int, value: Value, axis: int, units: NDArray[np.int32]) -> None:
        rank = self._ranks[number][units[units != NONE]]
        per_unit = np.bincount(rank, minlength=self.curves[number].group.size)
        along = _Along(number, units, (0, *np.cumsum(per_unit).tolist()))
        self._along.setdefault((value, axis), []).append(along)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many units each group has."""
        return tuple(c.group.size for c in self.curves)

    @cached_property
    def around(self) -> tuple[tuple[int, ...], ...]:
        """For each group the branches with which it goes."""
        return tuple(self.branches.with_group(c.group) for c in self.curves)

    def groups(self, value: Value, axis: int) -> tuple[int, ...]:
        """The numbers of the groups along an axis, in the order in which they begin."""
        return tuple(a.group for a in self._along.get((value, axis), ()))

    def of(self, value: Value) -> list[tuple[int, ...]]:
        """The same for each axis that has any."""
        found = (self.groups(value, axis) for axis in range(value.type.rank))
        return [groups for groups in found if groups]

    def sums(self, value: Value) -> Iterator[Sum | None]:
        """For each of `of`, the sum on which the extent depends; None where units of a group differ."""
        for axis in range(value.type.rank):
            if (value, axis) in self._along:
                yield self._sum(value, axis)[0]

    def _sum(self, value: Value, axis: int) -> tuple[Sum | None, int]:
        """The sum on which an axis depends, and how many indices one of it is."""
        if (value, axis) not in self._sums:
            along = self._along[value, axis]
            each = {a.group: a.each for a in along if a.each is not None}
            scale = gcd(*each.values()) or 1
            alike = len(each) == len(along)
            total = tuple((group, count // scale) for group, count in each.items()) if alike else None
            self._sums[value, axis] = total, scale
        return self._sums[value, axis]

    def extent(self, value: Value, axis: int, point: Point) -> int:
        """Of an axis."""
        whole, along = value.type.shape[axis], self._along.get((value, axis))
        if not along:
            return whole
        whole -= sum(a.indices[-1] for a in along)
        if point.sums:
            total, scale = self._sum(value, axis)
            if total is not None and total in point.sums:
                return whole + scale * point.sums[total]
        counts, sizes = point.counts, self.sizes
        return whole + sum(a.indices[counts.get(a.group, sizes[a.group])] for a in along)

    def shape(self, value: Value, point: Point) -> Shape:
        """Of a value."""
        shape = list(value.type.shape)
        for axis in self._axes.get(value, ()):
            shape[axis] = self.extent(value, axis, point)
        return tuple(shape)

    def operator(self, op: Operator, point: Point) -> Operator | None:
        """An operator at these extents, on operands of its own; UnsizedError where there is no such thing.

        None where nothing is computed: it is gone, or left to one of its operands.
        """
        left = self.branches.left(op, point.gone)
        if left is not None and left.is_operand:
            return None
        values = [at_shape(v, self.shape(v, point)) for v in _read(op, left)]
        return self._resized(op, left, values, point)

    def macs(self, op: Operator, point: Point) -> int:
        """Multiply-accumulates of `operator`, by types alone: 0 where nothing is computed, else as there."""
        if self.branches.left(op, point.gone) is not None:
            sized = self.operator(op, point)
            return 0 if sized is None else sized.macs
        types = [typed(v.type, self.shape(v, point)) for v in op.operands]
        results = result_types(op, types, {**op.attributes, **self.attributes(op, point)})
        return op.definition.macs(types, results[0])

    def cost_key(self, op: Operator, point: Point) -> Signature:
        """Equal where `operator` gives operators that cost the same."""
        if op not in self._signatures:
            self._signatures[op] = signature(op)
        left = self.branches.left(op, point.gone)
        if left is not None and left.is_operand:
            return ()
        shapes = tuple(self.shape(v, point) for v in _read(op, left))
        return self._signatures[op], left, shapes, tuple(sorted(self.attributes(op, point).items()))

    def _resized(self, op: Operator, left: Left | None, values: Sequence[Value], point: Point) -> Operator:
        """What is left of an operator, on these operands."""
        if left is not None and left.name != op.name:
            return create(left.name, values, {"epilogue": left.epilogue}, op.loc)
        given = self.attributes(op, point)
        return resized(op, values, given if left is None else {**given, "epilogue": left.epilogue})

    def attributes(self, op: Operator, point: Point) -> Attributes:
        """Those that change."""
        if op not in self._ports:
            self._ports[op] = ports_of(op)

        def kept(at: Axis) -> Ints:
            return self.kept(port_value(op, at.port), at.axis, point)

        return op.definition.axes.attributes(Narrowing(self._ports[op], kept))

    def kept(self, value: Value, axis: int, point: Point) -> Ints:
        """The indices of an axis that stay."""
        goes = np.zeros(value.type.shape[axis], np.bool_)
        for along in self._along.get((value, axis), ()):
            count = point.counts.get(along.group, self.sizes[along.group])
            ranks = np.append(self._ranks[along.group], -1)  # the last one is for NONE, which is -1
            goes |= ranks[along.units] >= count
        return np.flatnonzero(~goes)

    def pruned(self, counts: Mapping[int, int], gone: frozenset[int] = frozenset()) -> Graph:
        """The graph at these counts by its types alone: what constants hold is lost, times are right.

        Branches `gone` are not there.
        """
        point, graph = Point(counts, gone=gone), self.graph
        after = Graph(graph.name)
        values = {v: after.add_input(v.type, v.name) for v in graph.inputs}
        for op in graph.operators:
            if op.name == "nn.constant":
                value = at_shape(op.result, self.shape(op.result, point))
                assert value.producer is not None, "a constant's"
                made = Operator(op.definition, [], value.producer.attributes, [value.type], op.loc)
            else:
                left = self.branches.left(op, gone)
                if left is not None and left.is_operand:
                    values.update((op.result, values[op.operands[i]]) for i in left.operands)
                    continue
                made = self._resized(op, left, [values[v] for v in _read(op, left)], point)
            after.append(made)
            for old, new in zip(op.results, made.results, strict=True):
                new.name = old.name
                values[old] = new
        after.set_outputs([values[v] for v in graph.outputs], graph.output_names)
        after.remove_dead()
        return after


def _read(op: Operator, left: Left | None) -> list[Value]:
    """The operands of what is left of an operator."""
    return [op.operands[i] for i in (range(len(op.operands)) if left is None else left.operands)]


class PointCosts:
    """What operators cost at points; the cost table is asked once for those that cost the same."""

    def __init__(self, extents: Extents, table: CostTable) -> None:
        self.extents, self.table = extents, table
        self._known: dict[Signature, tuple[Choice, ...]] = {}

    def choices(self, op: Operator, point: Point) -> tuple[Choice, ...]:
        """None where nothing is computed; UnsizedError as `Extents.operator`."""
        key = self.extents.cost_key(op, point)
        if key not in self._known:
            sized = self.extents.operator(op, point)
            self._known[key] = () if sized is None else self.table.choices(sized)
        return self._known[key]
