"""Rewriting: rules are rows, one driver owns worklist and termination.

A `Rule` is a pattern (see `pattern`), a guard and a replacement; the replacement's docstring is
the rule's law: before -> after, and the side conditions. `rewrite` applies rules
greedily, operators in graph order and rules in list order, until none fires.

A rule that matched an operator's name and then did not fire raised a
`MatchFailure`, which says why and at which operator; `explain` collects them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .errors import SecateurError
from .explain import EXPLAINED, Explanation, Refusal, explain
from .graph import Graph, Operator, Value
from .pattern import Any_, Array, Const, Match, MatchFailure, Op, Order, join_locs

__all__ = [
    "Any_",
    "Array",
    "Const",
    "Explanation",
    "Guard",
    "Match",
    "MatchFailure",
    "Op",
    "Refusal",
    "Replacement",
    "RewriteError",
    "Rule",
    "always",
    "explain",
    "join_locs",
    "rewrite",
]

REWRITES_PER_OPERATOR = 64

Guard = Callable[[Match], None]
Replacement = Callable[[Match], Value]


class RewriteError(SecateurError):
    """Rules that do not come to rest, or a replacement of another type than what it replaces."""


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


def rewrite(graph: Graph, rules: Iterable[Rule]) -> Counter[str]:
    """Applies `rules` in place until none fires; returns how often each fired.

    RewriteError names the rules that do not come to rest: after `REWRITES_PER_OPERATOR` for each operator.
    """
    fuel = REWRITES_PER_OPERATOR * (len(graph.operators) + 1)
    driver = _Driver(graph, fuel, _dispatch(rules), explained=EXPLAINED.get())
    driver.run()
    driver.finish()
    return driver.fired
