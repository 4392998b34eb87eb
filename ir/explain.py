"""Why a rule did not fire: refusals are collected for the user, at the operators that they are about.

with explain("fold-batch-norm") as failures:
    rewrite(graph, RULES)
print(failures.report(graph))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from .graph import Graph, Operator
from .verifier import neighbourhood


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
            lines.append(f"{refusal.operator.called}: {refusal.reason}")
            if id(refusal.operator) in present:
                lines.append(neighbourhood(graph, refusal.operator, 1))
        return "\n".join(lines)


EXPLAINED: ContextVar[Explanation | None] = ContextVar("explained", default=None)
"""What refusals are collected in, where anybody asked."""


@contextmanager
def explain(rule: str) -> Iterator[Explanation]:
    """Collects why `rule` did not fire in every `rewrite` inside the block."""
    explanation = Explanation(rule)
    token = EXPLAINED.set(explanation)
    try:
        yield explanation
    finally:
        EXPLAINED.reset(token)
