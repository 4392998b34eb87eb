"""The relations that all operators of a graph declare, as arrays over numbered elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..axes import OUT, Axis, Fixed, Follow, Kind, OneOf, Ports, Relation, Summed, Tie
from ..graph import Graph, Operator, Value, constant_of
from .components import Ids
from .model import Place


def port_value(op: Operator, port: int) -> Value:
    """The value at a port."""
    return op.result if port == OUT else op.operands[port]


def place_of(op: Operator, port: int) -> Place:
    """Where a port's value stands: a constant for each of its readers anew."""
    value = port_value(op, port)
    return Place(value, op, port) if value.is_constant and port != OUT else Place(value)


def places(graph: Graph) -> Iterator[Place]:
    """Every place of the graph, in order."""
    yield from map(Place, graph.inputs)
    for op in graph.operators:
        yield from (place_of(op, port) for port, value in enumerate(op.operands) if value.is_constant)
        yield from (Place(r) for r in op.results if not r.is_constant)


def ports_of(op: Operator) -> Ports:
    """What the operator's rule sees."""
    operands = op.operands
    attributes = op.definition.complete(op.attributes)
    constants = [constant_of(v) for v in operands]
    return Ports([v.type for v in operands], op.result.type, attributes, constants)


class Numbering:
    """Numbers for every (place, axis), and for the elements along them: axis `k` has those from starts[k]."""

    def __init__(self, graph: Graph) -> None:
        self.axes: list[tuple[Place, int]] = [(p, a) for p in places(graph) for a in range(p.value.type.rank)]
        self.number = {axis: k for k, axis in enumerate(self.axes)}
        self.extents: Ids = np.array([p.value.type.shape[a] for p, a in self.axes], np.int64)
        self.starts: Ids = np.concatenate([[0], np.cumsum(self.extents)]).astype(np.int64)

    @property
    def size(self) -> int:
        return int(self.starts[-1])

    def ids(self, axis: int) -> Ids:
        """The elements along axis number `axis`."""
        return np.arange(self.starts[axis], self.starts[axis + 1])


@dataclass(frozen=True, eq=False)
class Reason:
    """Why an axis (by number), or some elements along it, are fixed: a sentence."""

    axis: int
    text: str
    ids: Ids | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """A `OneOf` with its ties as pairs of axis numbers and of elements; `axes` by number."""

    options: tuple[tuple[int, int, Ids, Ids], ...]
    axes: tuple[int, ...]
    text: str


@dataclass(frozen=True, eq=False)
class Following:
    """A `Follow` of an operator, as pairs of elements."""

    operator: Operator
    kind: Kind
    cause: Ids
    effect: Ids


def said_of(op: Operator, what: str) -> str:
    """`'prob' (nn.softmax) takes the softmax along axis 1`."""
    return f"'{op.loc or op.result.name or 'unnamed'}' ({op.name}) {what}"


@dataclass(eq=False)
class Relations:
    """Collects what the operators of a graph declare."""

    graph: Graph
    numbering: Numbering = field(init=False)
    pairs: list[tuple[Ids, Ids]] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    summed: list[tuple[Operator, int, int]] = field(default_factory=list)  # operator, operand, axis number
    spared: set[int] = field(default_factory=set)  # axes that an operator does without
    follows: list[Following] = field(default_factory=list)
    carried: NDArray[np.bool_] = field(init=False)  # elements of results that computed operands bring

    def __post_init__(self) -> None:
        self.numbering = Numbering(self.graph)
        self.carried = np.zeros(self.numbering.size, np.bool_)
        self.static = _static(self.graph)
        for value in self.graph.inputs:
            self._fix_all(value, f"it comes from the graph input '{value.name}'")
        for op in self.graph.operators:
            if op.name != "nn.constant":
                self._declare(op)
        for value, name in zip(self.graph.outputs, self.graph.output_names, strict=True):
            if not value.is_constant:
                self._fix_all(value, f"it is part of the graph output '{name}'")

    def _fix_all(self, value: Value, text: str) -> None:
        for axis in range(value.type.rank):
            self.reasons.append(Reason(self.numbering.number[Place(value), axis], text))

    def _declare(self, op: Operator) -> None:
        declared: set[int] = set()
        axes = op.definition.axes
        for relation in axes.relations(ports_of(op)):
            declared.update(self._number(op, at) for at in axes_of(relation))
            self._relate(op, relation)
        for port in (*range(len(op.operands)), OUT):
            for axis, extent in enumerate(port_value(op, port).type.shape):
                number = self._number(op, Axis(port, axis))
                if number not in declared and extent > 1:
                    self.reasons.append(Reason(number, said_of(op, axes.rest.format(axis=axis))))

    def _number(self, op: Operator, at: Axis) -> int:
        return self.numbering.number[place_of(op, at.port), at.axis]

    def _relate(self, op: Operator, relation: Relation) -> None:
        if isinstance(relation, Tie):
            self.pairs.append(self._tied(op, relation))
        elif isinstance(relation, Summed):
            number = self._number(op, relation.at)
            self.summed.append((op, relation.at.port, number))
            self.spared |= {number} if relation.all_of_it else set()
        elif isinstance(relation, Fixed):
            self.reasons.append(Reason(self._number(op, relation.at), said_of(op, relation.reason)))
        elif isinstance(relation, Follow):
            self.follows.append(self._following(op, relation))
        elif isinstance(relation, OneOf):
            self.choices.append(self._choice(op, relation))

    def _tied(self, op: Operator, tie: Tie) -> tuple[Ids, Ids]:
        a, b = self._elements(op, tie.a, tie.i), self._elements(op, tie.b, tie.j)
        if len(a) != len(b):
            raise ValueError(f"{op!r} ties {len(a)} elements of {tie.a} to {len(b)} of {tie.b}")
        for here, there, ids in ((tie.a, tie.b, a), (tie.b, tie.a, b)):
            if here.port == OUT != there.port and port_value(op, there.port) not in self.static:
                self.carried[ids] = True
        return a, b

    def _elements(self, op: Operator, at: Axis, indices: Ids | None) -> Ids:
        ids = self.numbering.ids(self._number(op, at))
        return ids if indices is None else ids[indices]

    def _following(self, op: Operator, follow: Follow) -> Following:
        cause = self._elements(op, follow.cause, follow.i)
        effect = self._elements(op, follow.effect, follow.j)
        if len(cause) != len(effect):
            raise ValueError(f"{op!r}: {len(cause)} causes of {len(effect)} effects")
        return Following(op, follow.kind, cause, effect)

    def _choice(self, op: Operator, relation: OneOf) -> Choice:
        options = [
            (self._number(op, t.a), self._number(op, t.b), *self._tied(op, t)) for t in relation.options
        ]
        numbers = tuple(self._number(op, at) for at in relation.axes)
        return Choice(tuple(options), numbers, said_of(op, relation.reason))


def axes_of(relation: Relation) -> tuple[Axis, ...]:
    if isinstance(relation, Tie):
        return relation.a, relation.b
    if isinstance(relation, Follow):
        return relation.cause, relation.effect
    return relation.axes if isinstance(relation, OneOf) else (relation.at,)


def _static(graph: Graph) -> set[Value]:
    """Values that follow from constants alone."""
    found: set[Value] = set()
    for op in graph.operators:
        if all(v in found for v in op.operands):
            found.update(op.results)
    return found
