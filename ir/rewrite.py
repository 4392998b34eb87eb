"""Rewriting: rules are rows, one driver owns worklist and termination.

A `Rule` is a pattern, a guard and a replacement; the replacement's docstring is
the rule's law: before -> after, and the side conditions. `rewrite` applies rules
greedily, operators in graph order and rules in list order, until none fires.

A rule that matched an operator's name and then did not fire raised a
`MatchFailure`, which says why and at which operator; `explain` collects them:

    with explain("fold-batch-norm") as failures:
        rewrite(graph, RULES)
    print(failures.report(graph))
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from .errors import SecateurError
from .graph import Graph, Operator, Value, constant_of
from .registry import create
from .verifier import neighbourhood

Array = np.ndarray[Any, Any]

REWRITES_PER_OPERATOR = 64


class RewriteError(SecateurError):
    """Rules that do not come to rest, or a replacement of another type than what it replaces."""


class MatchFailure(Exception):  # noqa: N818  (an answer, not an error)
    """Why a pattern or a guard refused, and the operator it looked at."""

    def __init__(self, reason: str, operator: Operator) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operator = operator


# Patterns ------------------------------------------------------------------------------------------


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


# Rules ---------------------------------------------------------------------------------------------

Guard = Callable[[Match], None]
Replacement = Callable[[Match], Value]


def always(_: Match) -> None:
    """The guard that never refuses."""


@dataclass(frozen=True)
class Rule:
    """`pattern` (rooted at an operator with one result), `guard`, `replacement`.

    The guard refuses through `Match.need`. The replacement returns the value
    that takes the root's place; its docstring is the law.
    """

    name: str
    pattern: Op
    guard: Guard
    replacement: Replacement

    def __post_init__(self) -> None:
        if not self.law:
            raise ValueError(f"rule {self.name} has no law: its replacement needs a docstring")

    @property
    def law(self) -> str:
        return (self.replacement.__doc__ or "").strip()

    def apply(self, match: Match, variant: Op) -> Value:
        """The replacement of the match's root; MatchFailure where the rule does not fire."""
        variant.match_operator(match.root, match)
        self.guard(match)
        return self.replacement(match)


# Explanations --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A rule that did not fire at an operator of the graph, and why."""

    rule: str
    root: Operator
    operator: Operator
    reason: str


@dataclass
class Explanation:
    """Refusals of one rule; `fired` counts where it did apply."""

    rule: str
    refusals: list[Refusal] = field(default_factory=list)
    fired: int = 0

    def report(self, graph: Graph) -> str:
        """For the user: each refusal with the operator inside its neighbours."""
        lines = [f"{self.rule}: fired {self.fired} times, refused {len(self.refusals)} times"]
        if not self.refusals and not self.fired:
            lines.append("no operator of the graph is of the kind that its pattern is rooted at")
        present = set(map(id, graph.operators))
        for refusal in self.refusals:
            where = f" (ONNX node {refusal.operator.loc})" if refusal.operator.loc else ""
            lines.append(f"{refusal.operator.name}{where}: {refusal.reason}")
            if id(refusal.operator) in present:
                lines.append(neighbourhood(graph, refusal.operator, 1))
        return "\n".join(lines)


_EXPLAINED: ContextVar[Explanation | None] = ContextVar("explained", default=None)


@contextmanager
def explain(rule: str) -> Iterator[Explanation]:
    """Collects why `rule` did not fire in every `rewrite` inside the block."""
    explanation = Explanation(rule)
    token = _EXPLAINED.set(explanation)
    try:
        yield explanation
    finally:
        _EXPLAINED.reset(token)


# The driver ----------------------------------------------------------------------------------------


@dataclass
class _Driver:
    """State of one call of `rewrite`."""

    graph: Graph
    fuel: int
    table: dict[str, list[tuple[Rule, list[Op]]]]
    queue: deque[Operator] = field(default_factory=deque)
    queued: set[Operator] = field(default_factory=set)
    alive: Order = field(default_factory=dict)
    fired: Counter[str] = field(default_factory=Counter)
    refused: dict[Operator, list[Refusal]] = field(default_factory=dict)
    explained: Explanation | None = None

    def push(self, ops: Iterable[Operator | None]) -> None:
        for op in ops:
            if op is not None and op in self.alive and op not in self.queued:
                self.queued.add(op)
                self.queue.append(op)

    def run(self) -> None:
        """Sweeps until one whole sweep fires nothing: a use count far from the root may decide a rule."""
        self.alive = {op: (i,) for i, op in enumerate(self.graph.operators)}
        swept = -1
        while swept != self.fired.total():
            swept = self.fired.total()
            self.push(self.graph.operators)
            self.drain()
            self.graph.operators = sorted(self.alive, key=self.alive.__getitem__)

    def drain(self) -> None:
        while self.queue:
            op = self.queue.popleft()
            self.queued.discard(op)
            if op in self.alive:
                self.visit(op)

    def visit(self, op: Operator) -> None:
        self.refused.pop(op, None)  # what was refused at an earlier visit may hold no longer
        for rule, variants in self.table.get(op.name, []):
            for variant in variants:
                match = Match(self.graph, op, self.alive)
                try:
                    value = rule.apply(match, variant)
                except MatchFailure as failure:
                    self.note(rule, op, failure)
                    continue
                self.install(rule, match, value)
                return

    def note(self, rule: Rule, root: Operator, failure: MatchFailure) -> None:
        if self.explained is not None and rule.name == self.explained.rule:
            refusal = Refusal(rule.name, root, failure.operator, failure.reason)
            self.refused.setdefault(root, []).append(refusal)

    def install(self, rule: Rule, match: Match, value: Value) -> None:
        """Puts the created operators before the root and `value` in its result's place; removes what died."""
        self.spend(rule)
        if self.explained is not None and rule.name == self.explained.rule:
            self.refused.pop(match.root, None)
        old = match.root.result
        if (value.type.shape, value.type.dtype) != (old.type.shape, old.type.dtype):
            raise RewriteError(f"rule {rule.name} replaces {old!r} by {value!r}")
        touched = [*old.users, *[v.producer for v in match.root.operands]]
        place = self.alive[match.root]
        self.alive.update((op, (*place, i)) for i, op in enumerate(match.created))
        self.graph.replace_value(old, value)
        touched += self.erase_dead([match.root, *match.created])
        self.push([*match.created, value.producer, *touched, *value.users])

    def spend(self, rule: Rule) -> None:
        self.fired[rule.name] += 1
        self.fuel -= 1
        if self.fuel < 0:
            often = ", ".join(f"{name} ({count} times)" for name, count in self.fired.most_common(3))
            raise RewriteError(f"the rules do not come to rest; most often fired: {often}")

    def erase_dead(self, roots: Iterable[Operator]) -> list[Operator]:
        """Erases `roots` and their producers where unused.

        Returns the survivors that lost a user, and the last user of each: a rule may wait for that.
        """
        survivors: list[Operator] = []
        stack = list(roots)
        while stack:
            op = stack.pop()
            if op not in self.alive:
                continue
            if any(self.graph.is_used(r) for r in op.results):
                survivors.append(op)
                continue
            producers = [v.producer for v in op.operands if v.producer is not None]
            op.operands = []
            del self.alive[op]
            stack.extend(producers)
        lone = [user for op in survivors for r in op.results if len(r.uses) == 1 for user in r.users]
        return [*survivors, *lone]

    def finish(self) -> None:
        """Hands over what was refused at each operator's last visit, unless the rule then fired there."""
        if self.explained is not None:
            self.explained.fired += self.fired[self.explained.rule]
            known = {(r.root, r.reason) for r in self.explained.refusals}
            found = (r for refusals in self.refused.values() for r in refusals)
            self.explained.refusals += [r for r in found if (r.root, r.reason) not in known]


def _dispatch(rules: Iterable[Rule]) -> dict[str, list[tuple[Rule, list[Op]]]]:
    table: dict[str, list[tuple[Rule, list[Op]]]] = {}
    for rule in rules:
        variants = [v for v in rule.pattern.variants() if isinstance(v, Op)]
        for name in rule.pattern.name_set:
            table.setdefault(name, []).append((rule, variants))
    return table


def rewrite(graph: Graph, rules: Iterable[Rule], fuel: int | None = None) -> Counter[str]:
    """Applies `rules` in place until none fires; returns how often each fired.

    `fuel` limits the rewrites (default: 64 for each operator); RewriteError
    names the rules that do not come to rest.
    """
    limit = REWRITES_PER_OPERATOR * (len(graph.operators) + 1) if fuel is None else fuel
    driver = _Driver(graph, limit, _dispatch(rules), explained=_EXPLAINED.get())
    driver.run()
    driver.finish()
    return driver.fired
