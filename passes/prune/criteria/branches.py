"""Residual branches that may go whole, and what each would cost.

    y = skip + branch   ->   y = skip

where everything that only the branch uses goes with it. The loss is the variance of the branch about its
channels' means, as a share of that of y, times the sensitivity of y: the means of what follows are repaired.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.ir.graph import Graph, Operator, Value

from ..linear.matrices import Array, Floats, is_linear
from .criterion import Evidence


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
        if op.name == "nn.add" and _plain(op):
            both = [b for at in (0, 1) if (b := _branch(graph, op, at)) is not None]
            found += sorted(both, key=lambda b: -sum(o.macs for o in b.operators))[:1]
    return found


def _plain(op: Operator) -> bool:
    a, b = op.operands
    return a is not b and a.type == b.type == op.result.type and not (a.is_constant or b.is_constant)


def _branch(graph: Graph, add: Operator, at: int) -> Branch | None:
    needed = _behind(add.operands[1 - at])
    own = _only_for(graph, add, add.operands[at], needed)
    entries = {v for op in own for v in op.operands if not v.is_constant and v.producer not in own}
    if len(entries) != 1 or not entries <= needed or not any(is_linear(op) for op in own):
        return None
    return Branch(add, at, tuple(op for op in graph.operators if op in own))


def _only_for(graph: Graph, add: Operator, value: Value, needed: set[Value]) -> set[Operator]:
    """Operators, no constants, that make none of `needed` and are used for nothing but `value` in `add`."""
    own, waiting, after = set[Operator](), [value], {add}
    while waiting:
        op = waiting.pop().producer
        if op is None or op in own or op.name == "nn.constant":
            continue
        if not any(r in needed or graph.is_output(r) or set(r.users) - after for r in op.results):
            own.add(op)
            after.add(op)
            waiting += op.operands
    return own


def _behind(value: Value) -> set[Value]:
    """The value and everything that it depends on."""
    found, waiting = set[Value](), [value]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += one.producer.operands if one.producer is not None else []
    return found


def branch_losses(evidence: Evidence, branches: Sequence[Branch]) -> dict[str, float]:
    """The loss of each branch by name, on calibration data; SecateurError where there is none."""
    values = [v for b in branches for v in (b.value, b.sum.result)]
    sums = [_Variance() for _ in values]
    for arrays in evidence.data.values(evidence.graph, values) if values else ():
        for variance, array in zip(sums, arrays, strict=True):
            variance.add(array)
    found = {}
    for branch, own, whole in zip(branches, sums[::2], sums[1::2], strict=True):
        sensitivity = evidence.sensitivity.get(branch.sum.result, 1.0)
        found[branch.name] = sensitivity * own.total / whole.total if whole.total > 0 else 0.0
    return found


class _Variance:
    """Variance of channels (axis 1) about their means, added up over channels; streamed."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(())
        self.square: Floats = np.zeros(())

    def add(self, array: Array) -> None:
        axes = tuple(i for i in range(array.ndim) if i != 1)
        wide = array.astype(np.float64)
        self.count += 1
        self.mean = self.mean + wide.mean(axis=axes)
        self.square = self.square + np.square(wide).mean(axis=axes)

    @property
    def total(self) -> float:
        return float(np.sum(self.square / self.count - np.square(self.mean / self.count)))


def without(graph: Graph, branches: Collection[Branch]) -> Graph:
    """A copy in which the sums of `branches`, found in `graph`, are their skips alone."""
    copy = graph.clone()
    twins = dict(zip(graph.values(), copy.values(), strict=True))
    for branch in branches:
        copy.replace_value(twins[branch.sum.result], twins[branch.skip])
    copy.remove_dead()
    return copy
