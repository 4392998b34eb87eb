"""A primitive of processors on a GPU: each task is computed by one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from secateur.ir.choice import Choice
from secateur.ir.graph import Operator, Value

from ...kernel import Kernel
from ...primitives.chosen import chosen_as
from ...primitives.operator import Argument, Array, Combination, Primitive
from ...targets.target import Target
from ...vector.loops import finest
from ...weights.origin import Origin
from .thread import thread_of, workspace_stride

_SLOWER = 6.0  # a thread waits for memory that nobody else asks for in time


class PerThread(Primitive):
    """`inner`, with as many tasks as it has rows of work; workspaces of all threads lie side by side."""

    def __init__(self, inner: Primitive, slower: float = _SLOWER) -> None:
        self.inner, self.name, self.slower = inner, inner.name, slower
        self.operators, self.spreads = inner.operators, inner.spreads

    def applicable(self, op: Operator, target: Target) -> str | None:
        if op.get("reach"):
            return "an operand that reaches some channels"
        return self.inner.applicable(op, thread_of(target))

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return self.inner.layouts(op, thread_of(target))

    def workspace(self, op: Operator, target: Target) -> int:
        kernels = (self.kernel(bare, target) for bare in laid_out(self, op, target))
        return max(k.tasks * workspace_stride(k) for k in kernels)

    def estimate(self, op: Operator, target: Target) -> float:
        return min(self._seconds(bare, target) for bare in laid_out(self, op, target))

    def noise(self, op: Operator, target: Target) -> float:
        return self.inner.noise(op, thread_of(target))

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        return self.inner.constants(_bare(op), thread_of(target))

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        with finest():
            return self.inner.arguments(_bare(op), thread_of(target))

    def origin(self, op: Operator, target: Target) -> Origin | None:
        with finest():
            return self.inner.origin(_bare(op), thread_of(target))

    def keeps(self, op: Operator, target: Target) -> tuple[int, ...]:
        return self.inner.keeps(op, thread_of(target))

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        return self.inner.tiling(_bare(op), thread_of(target))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        with finest():
            own = self.inner.kernel(_bare(op), thread_of(target))
        spec = ("thread", own.spec, workspace_stride(own))
        return Kernel(own.name, spec, partial(_finest, own.build), own.tasks, own.workspace, own.overwritten)

    def _seconds(self, op: Operator, target: Target) -> float:
        """By the work of one core that did it all, shared among the threads that the GPU computes at once."""
        gpu, tasks = target.gpu, self.kernel(op, target).tasks
        moved = sum(v.type.bytes for v in (*op.operands, *op.results))
        alone = self.inner.estimate(_bare(op), thread_of(target)) * self.slower
        at_once = min(tasks, gpu.multiprocessors * gpu.fma)
        if not alone:
            return 0.0  # nothing is computed, as a rule: the bytes lie where they are wanted
        return max(alone / at_once, moved / (gpu.dram_gbps * 1e9)) + gpu.launch_seconds


def laid_out(primitive: Primitive, op: Operator, target: Target) -> Iterator[Operator]:
    """The operator in each layout that is offered."""
    if op.name.startswith("prim."):
        yield op
        return
    for combination in primitive.layouts(op, target):
        yield with_layouts(primitive, op, combination)


def with_layouts(primitive: Primitive, op: Operator, combination: Combination) -> Operator:
    """The operator as the primitive computes it; where one was chosen already, as it is."""
    if op.name.startswith("prim."):
        return op
    operands, result = combination
    return chosen_as(op, Choice(primitive.name, operands, result, 0, 0.0, 0.0, False, ()))


def _bare(op: Operator) -> Operator:
    """The operator with the least workspace that its primitive can do with, on operands of its own."""
    if not op.get("workspace", 0):
        return op
    operands = [Value(v.type, producer=v.producer) for v in op.operands]
    results = [r.type for r in op.results]
    return Operator(op.definition, operands, {**op.attributes, "workspace": 0}, results, op.loc)


def _finest(build: Callable[[], Any]) -> Any:
    with finest():
        return build()
