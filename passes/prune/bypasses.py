"""Branches that may go, in the fused graph: what goes with one, and what the operator that added it becomes.

    %y = nn.conv(%a, %w, %skip) {add, relu}        the branch's own convolution adds   ->   %skip, or a map
    %y = nn.conv(%x, %w, %branch) {add, relu}      the skip's convolution adds         ->   nn.conv {relu}
    %y = nn.map(%skip, %branch) {add, relu}        nothing else does                   ->   %skip, or a map

Fusion may go further once a branch is gone, and never less far, so costs are those of what is left at most.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.ir.bounds import after_step, bounds_of
from secateur.ir.channels import Group
from secateur.ir.elementwise import Epilogue, Step, extra_operands
from secateur.ir.graph import Graph, Operator, Value

from .criteria.branches import Branch, behind, only_for
from .linear.matrices import is_linear


@dataclass(frozen=True, eq=False)
class Left:
    """What is left of an operator: another on some of its operands (by their numbers), or just the first of
    these where `name` is empty."""

    name: str
    operands: tuple[int, ...]
    epilogue: Epilogue = ()

    @property
    def is_operand(self) -> bool:
        return not self.name


@dataclass(frozen=True, eq=False)
class Bypass:
    """A branch of a fused graph: `inside` goes with it, and `sum` becomes `left`. Going costs `loss`."""

    name: str
    loss: float
    sum: Operator
    inside: frozenset[Operator]
    left: Left


NOTHING = Left("", ())
"""What is left of an operator of a branch that is gone."""


class Branches:
    """The branches of a graph that may go, by number, and what they are about."""

    def __init__(self, bypasses: Sequence[Bypass]) -> None:
        self.all = tuple(bypasses)
        self._inside: dict[Operator, frozenset[int]] = {}
        self._sums = {bypass.sum: number for number, bypass in enumerate(self.all)}
        for number, bypass in enumerate(self.all):
            for op in bypass.inside:
                self._inside[op] = self.around(op) | {number}

    def around(self, op: Operator) -> frozenset[int]:
        """The branches with which an operator goes."""
        return self._inside.get(op, frozenset())

    def of(self, op: Operator) -> frozenset[int]:
        """The branches that the cost of an operator depends on."""
        own = self._sums.get(op)
        return self.around(op) | ({own} if own is not None else set())

    def left(self, op: Operator, gone: frozenset[int]) -> Left | None:
        """What is left of an operator where branches are gone; None where all of it is."""
        if not gone:
            return None
        if self.around(op) & gone:
            return NOTHING
        own = self._sums.get(op)
        return self.all[own].left if own in gone and own is not None else None

    def tensor(self, value: Value, gone: frozenset[int]) -> Value | None:
        """The value whose bytes a value's are; None where it is gone."""
        while value.producer is not None:
            left = self.left(value.producer, gone)
            if left is NOTHING:
                return None
            if left is None or not left.is_operand:
                break
            value = value.producer.operands[left.operands[0]]
        return value

    def sharing(self, value: Value) -> frozenset[int]:
        """The branches on which it depends whose bytes a value's are."""
        found = frozenset[int]()
        while value.producer is not None:
            found |= self.of(value.producer)
            own = self._sums.get(value.producer)
            if own is None or not self.all[own].left.is_operand:
                break
            value = value.producer.operands[self.all[own].left.operands[0]]
        return found

    def with_group(self, group: Group) -> tuple[int, ...]:
        """The branches with which a whole group of channels goes."""
        return tuple(n for n, bypass in enumerate(self.all) if is_within(group, bypass.inside, bypass.sum))


def is_within(group: Group, inside: Container[Operator], sum: Operator) -> bool:
    """Whether all of a group's channels are of the operators `inside` a branch, or constants of these or of
    the `sum` that adds it."""
    for place in (m.place for m in group.members):
        op = place.reader if place.value.is_constant else place.value.producer
        if op not in inside and not (op is sum and place.value.is_constant):
            return False
    return True


def find_bypasses(fused: Graph, branches: Iterable[tuple[Branch, float]]) -> Iterator[Bypass]:
    """The branches (with their losses) of a graph that are found again in what fusion made of it.

    They are found by ONNX nodes; one is left out where these do not say, or the sum is computed together
    with something that needs both of its operands.
    """
    for branch, loss in branches:
        sums = [op for op in fused.operators if branch.sum.loc and branch.sum.loc in op.loc.split("+")]
        nodes = {op.loc for op in branch.operators if is_linear(op)}
        if len(sums) == 1 and "" not in nodes:
            yield from _bypass(fused, sums[0], branch.name, loss, nodes)


def _bypass(fused: Graph, op: Operator, name: str, loss: float, nodes: set[str]) -> Iterator[Bypass]:
    form = _Form.of(op)
    for goes, left in form.ways() if form is not None else ():
        stays = [v for i, v in enumerate(op.operands) if i in left.operands and not v.is_constant]
        inside = only_for(fused, op, [op.operands[i] for i in goes], behind(stays))
        gone = {*inside, *([op] if is_linear(op) and left.name != op.name else [])}
        if nodes <= {node for one in gone for node in one.loc.split("+")}:
            yield Bypass(name, loss, op, frozenset(inside), left)
            return


@dataclass(frozen=True, eq=False)
class _Form:
    """An operator that adds two tensors of its result's type: what it computes first, of `own` operands, and
    operand `other`, with the steps before and behind."""

    op: Operator
    own: tuple[int, ...]
    other: int
    before: tuple[Step, ...]
    behind: tuple[Step, ...]

    @classmethod
    def of(cls, op: Operator) -> _Form | None:
        if op.name == "nn.add":
            return cls(op, (0,), 1, (), ())
        steps = tuple(op.get("epilogue") or ())
        at = len(op.operands) - extra_operands(steps)
        own, found = tuple(range(at)), []
        for i, step in enumerate(steps):
            if step.function.arity == 2:
                extra = op.operands[at]
                if not extra.is_constant:
                    found.append((i, at, step.op))
                at += 1
        if len(found) != 1 or found[0][2] != "add" or op.operands[found[0][1]].type != op.result.type:
            return None
        ((i, at, _),) = found
        return cls(op, own, at, steps[:i], steps[i + 1 :])

    def ways(self) -> Iterator[tuple[tuple[int, ...], Left]]:
        """The operands that go, and what is left: without the other operand, and with that alone."""
        rest = tuple(i for i in range(len(self.op.operands)) if i != self.other)
        if is_linear(self.op):
            yield (self.other,), Left(self.op.name, rest, (*self.before, *self.behind))
        else:
            steps = (*self.before, *self.behind)
            yield (self.other,), _mapped(self.op, rest, steps)
        constants = rest[len(self.own) + extra_operands(self.before) :]
        yield self.own, _mapped(self.op, (self.other, *constants), self.behind)


def _mapped(op: Operator, operands: tuple[int, ...], steps: Sequence[Step]) -> Left:
    """Steps on the first operand, or that alone where they do nothing."""
    bounds = bounds_of(op.operands[operands[0]])
    for step in steps:
        if step.function.arity != 1 or not _limits(step, bounds):
            return Left("nn.map", operands, tuple(steps))
        bounds = after_step(step, bounds)
    return Left("", operands[:1])


def _limits(step: Step, bounds: Any) -> bool:
    """Whether the step is a limit that values within the bounds keep anyway."""
    if step.op == "relu":
        return bool(bounds.within(0.0, math.inf))
    return step.op == "clip" and bool(bounds.within(*step.params))
