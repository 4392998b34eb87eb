"""Patterns over operators, and one attempt to match them: what was bound, or why it failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from .graph import Graph, Operator, Value, constant_of
from .registry import create

Array = np.ndarray[Any, Any]


class MatchFailure(Exception):  # noqa: N818  (an answer, not an error)
    """Why a pattern or a guard refused, and the operator it looked at."""

    def __init__(self, reason: str, operator: Operator) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operator = operator


@dataclass(frozen=True)
class Any_:  # noqa: N801
    """Any value. A name bound twice must be the same value both times."""

    bind: str = ""

    def match(self, value: Value, user: Operator, match: Match) -> None:
        match.bind(self.bind, value, user)

    def variants(self) -> Iterator[Pattern]:
        yield self


@dataclass(frozen=True)
class Const(Any_):
    """The result of `nn.constant`; with `scalar`, one element of that value (to 1e-6 relative)."""

    scalar: float | None = None

    def match(self, value: Value, user: Operator, match: Match) -> None:
        array = constant_of(value)
        if array is None:
            raise MatchFailure(f"operand %{value.name} is no constant", user)
        if self.scalar is not None and not _is_scalar(array, self.scalar):
            raise MatchFailure(f"operand %{value.name} is not the scalar {self.scalar:g}", user)
        match.bind(self.bind, value, user)


@dataclass(frozen=True)
class Op:
    """An operator called one of `names`, its first operands as given.

    `once`: its result has exactly one use and is no graph output, so that
    replacing the root removes it. `commutes`: both orders of the two operands
    are tried, the given one first.
    """

    names: str | tuple[str, ...]
    operands: tuple[Pattern, ...] = ()
    bind: str = ""
    once: bool = False
    commutes: bool = False

    @property
    def name_set(self) -> tuple[str, ...]:
        return (self.names,) if isinstance(self.names, str) else self.names

    def match(self, value: Value, user: Operator, match: Match) -> None:
        op = value.producer
        if op is None or op.name not in self.name_set:
            found = "a graph input" if op is None else op.name
            raise MatchFailure(f"operand %{value.name} is {found}, not {' or '.join(self.name_set)}", user)
        self.match_operator(op, match)
        if self.once and match.graph.use_count(value) != 1:
            raise MatchFailure(_uses(value, match.graph), op)

    def match_operator(self, op: Operator, match: Match) -> None:
        """Matches everything but the name."""
        match.operators.append(op)
        if self.bind:
            match.bound[self.bind] = op
        operands = op.operands
        if len(operands) < len(self.operands):
            raise MatchFailure(f"has {len(operands)} operands, the rule wants {len(self.operands)}", op)
        for pattern, operand in zip(self.operands, operands, strict=False):
            pattern.match(operand, op, match)

    def variants(self) -> Iterator[Pattern]:
        """The pattern once for each order of commuting operands."""
        orders = [self.operands, self.operands[::-1]] if self.commutes else [self.operands]
        for order in orders:
            for operands in product(*[list(p.variants()) for p in order]):
                yield Op(self.names, operands, self.bind, self.once)


Pattern = Any_ | Op


def _is_scalar(array: Array, wanted: float) -> bool:
    return array.size == 1 and bool(np.isclose(float(array.reshape(-1)[0]), wanted, rtol=1e-6, atol=0.0))


def _uses(value: Value, graph: Graph) -> str:
    if graph.is_output(value):
        return f"%{value.name} is a graph output and must stay"
    return f"%{value.name} has {len(value.uses)} uses, fusing needs one"


Order = dict[Operator, tuple[int, ...]]
"""Keys by which operators sort: what is created at an operator has its key and a number more."""


@dataclass(eq=False)
class Match:
    """One attempt of a rule at `root`: what the pattern bound, and how a replacement is built.

    While rules are applied, the graph's list of operators is that before the first; `precedes` knows better.
    """

    graph: Graph
    root: Operator
    order: Order
    bound: dict[str, Value | Operator] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    created: list[Operator] = field(default_factory=list)

    def precedes(self, one: Operator, other: Operator) -> bool:
        """Whether one operator stands before another."""
        return self.order[one] < self.order[other]

    def bind(self, name: str, value: Value, user: Operator) -> None:
        if self.bound.setdefault(name, value) is not value and name:
            raise MatchFailure(f"%{value.name} is not the value matched before as '{name}'", user)

    def value(self, name: str) -> Value:
        """The value bound by `Any_` or `Const`."""
        found = self.bound[name]
        assert isinstance(found, Value)
        return found

    def op(self, name: str) -> Operator:
        """The operator bound by `Op`."""
        found = self.bound[name]
        assert isinstance(found, Operator)
        return found

    def array(self, name: str) -> Array:
        """The elements of the constant bound as `name`."""
        array = constant_of(self.value(name))
        assert array is not None
        return array

    def need(self, condition: bool, reason: str, at: Operator | None = None) -> None:
        """In a guard: refuses with `reason` where the condition fails."""
        if not condition:
            raise MatchFailure(reason, at or self.root)

    @property
    def loc(self) -> str:
        """Names of the ONNX nodes matched, producers first."""
        return join_locs(reversed(self.operators))

    def new(self, name: str, operands: Sequence[Value], **attributes: Any) -> Value:
        """A new operator with one result; it will stand where the root stood."""
        op = create(name, operands, attributes, self.loc)
        self.created.append(op)
        return op.result

    def constant(self, array: Array, name: str = "") -> Value:
        """A new constant."""
        op = create("nn.constant", [], {"value": array})
        op.result.name = name
        self.created.append(op)
        return op.result


def join_locs(operators: Iterable[Operator]) -> str:
    """The operators' ONNX names, each once, joined by `+`; constants have none."""
    names = [part for op in operators if op.name != "nn.constant" for part in op.loc.split("+") if part]
    return "+".join(dict.fromkeys(names))
