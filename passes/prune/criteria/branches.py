"""Residual branches that may go whole.

    y = skip + branch   ->   y = skip

where everything that only the branch uses goes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from secateur.ir.graph import Graph, Operator, Value

from ..branches import is_plain_addition
from ..linear.matrices import is_linear


@dataclass(frozen=True, eq=False)
class Branch:
    """An addition of which operand number `at` may go, and the operators that then go, in order."""

    sum: Operator
    at: int
    operators: tuple[Operator, ...]

    @property
    def name(self) -> str:
        """The location of the sum."""
        return self.sum.loc or self.sum.result.name

    @property
    def layers(self) -> tuple[str, ...]:
        """The locations of its layers with weights."""
        return tuple(op.loc or op.result.name for op in self.operators if is_linear(op))

    @property
    def value(self) -> Value:
        return self.sum.operands[self.at]

    @property
    def skip(self) -> Value:
        return self.sum.operands[1 - self.at]


def find_branches(graph: Graph) -> list[Branch]:
    """One for each sum that has one, the operand of more multiplications where both could go.

    A branch begins at one value, on which the skip depends too, and has a linear operator.
    """
    found = []
    for op in graph.operators:
        if is_plain_addition(op):
            both = [b for at in (0, 1) if (b := _branch(graph, op, at)) is not None]
            found += sorted(both, key=lambda b: -sum(o.macs for o in b.operators))[:1]
    return found


def _branch(graph: Graph, add: Operator, at: int) -> Branch | None:
    needed = behind([add.operands[1 - at]])
    own = only_for(graph, add, [add.operands[at]], needed)
    entries = {v for op in own for v in op.operands if not v.is_constant and v.producer not in own}
    if len(entries) != 1 or not entries <= needed or not any(is_linear(op) for op in own):
        return None
    return Branch(add, at, tuple(op for op in graph.operators if op in own))


def only_for(graph: Graph, reader: Operator, values: Sequence[Value], needed: set[Value]) -> set[Operator]:
    """Operators, no constants, that make none of `needed` and serve only `reader`, of which `values` are
    operands."""
    own, waiting, after = set[Operator](), list(values), {reader}
    while waiting:
        op = waiting.pop().producer
        if op is None or op in own or op.name == "nn.constant":
            continue
        if not any(r in needed or graph.is_output(r) or set(r.users) - after for r in op.results):
            own.add(op)
            after.add(op)
            waiting += op.operands
    return own


def behind(values: Sequence[Value]) -> set[Value]:
    """The values and everything that they depend on."""
    found, waiting = set[Value](), list(values)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += one.producer.operands if one.producer is not None else []
    return found


def bypassed(branches: Iterable[Branch]) -> dict[Operator, int]:
    """The branches as a decision that they go."""
    return {branch.sum: branch.at for branch in branches}
