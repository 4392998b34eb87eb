"""Indices of the largest elements: each element counts those that come before it, which is its place."""

from __future__ import annotations

from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ....kernel import Kernel
from ....primitives.reduce.top_k import TopK, TopKSpec, before, compared
from ....targets.target import Target
from ....tir import Registers, T, prim_func, when
from ..implicit_gemm_kernel import held
from ..per_thread import PerThread

Expr = Any
_INSTRUCTIONS = 4.0  # for each pair
_ALONE = 8.0  # cycles of a thread for each pair
_INSERTION = 50.0  # times as slow as a processor: a comparison waits for a place, then for what lies there


class Ranks(TopK):
    """An element is a thread's, and threads that run together read the same element at once."""

    name = "top_k_ranks"

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        tasks = max(1, spec.outer * spec.count * spec.inner)
        return Kernel("top_k", ("ranks", spec), partial(_build, spec), tasks)


class _ByRanks(PerThread):
    """Pairs are shared among all threads."""

    def estimate(self, op: Operator, target: Target) -> float:
        count, elements = op.operands[0].type.shape[op["axis"]], op.operands[0].type.elements
        shared = elements * count * _INSTRUCTIONS / (target.gpu.multiprocessors * target.gpu.fma)
        cycles: float = max(shared, count * _ALONE)
        return cycles / (target.gpu.clock_ghz * 1e9) + target.gpu.launch_seconds


def _build(spec: TopKSpec) -> Any:
    def body(x: Any, result: Any, _workspace: Any, begin: Expr, end: Expr) -> None:
        if not spec.outer * spec.count * spec.inner * spec.k:
            T.evaluate(0)
            return
        with T.serial(begin, end) as task:
            _place(spec, x, result, held(task))

    return prim_func([("x", spec.dtype), ("result", "int64")], body)


def _place(spec: TopKSpec, x: Any, result: Any, task: Expr) -> None:
    """Of the element that is number `task` of all."""
    inner, row = held(T.truncmod(task, spec.inner)), held(T.truncdiv(task, spec.inner))
    own, outer = held(T.truncmod(row, spec.count)), held(T.truncdiv(row, spec.count))
    start, rank = held(outer * (spec.count * spec.inner) + inner), Registers(1, 1, "int32")
    value = compared(spec, x, start + own * spec.inner)
    rank.fill(0)
    with T.serial(0, own) as i:
        other = compared(spec, x, start + i * spec.inner)
        rank[0] = rank[0] + T.Select(before(spec, value, other), 0, 1)
    with T.serial(0, spec.count - 1 - own) as i:
        other = compared(spec, x, start + (own + 1 + i) * spec.inner)
        rank[0] = rank[0] + T.Select(before(spec, other, value), 1, 0)
    with when(rank[0] < spec.k):
        place = outer * (spec.k * spec.inner) + inner + rank[0] * spec.inner
        T.buffer_store(result, T.Cast("int64", own), [held(place)])


PRIMITIVES = (_ByRanks(Ranks()), PerThread(TopK(), _INSERTION))
