"""Constant folding through the reference interpreter."""

from __future__ import annotations

from secateur.ir.graph import Graph, Operator
from secateur.ir.interpreter import evaluate
from secateur.ir.opdef import create
from secateur.ir.rewrite import constant_of

MAX_MACS = 10**8


def _foldable(op: Operator, limit: int) -> bool:
    if op.name == "nn.constant" or any(constant_of(v) is None for v in op.operands):
        return False
    size = sum(r.type.bytes for r in op.results)
    small = size <= max(limit, sum(v.type.bytes for v in op.operands))
    return small and op.definition.macs(op) <= MAX_MACS


def _fold(graph: Graph, op: Operator) -> None:
    arrays = [constant_of(v) for v in op.operands]
    for old, array in zip(op.results, evaluate(op, [a for a in arrays if a is not None]), strict=True):
        constant = create(
            "nn.constant", [], {"value": array.copy() if array.base is not None else array}, op.loc
        )
        graph.insert_before(op, [constant])
        constant.result.name, constant.result.type = old.name, old.type  # the type tells a quantization too
        graph.replace_value(old, constant.result)
    graph.erase(op)


def fold_constants(graph: Graph, limit: int) -> int:
    """Replaces operators whose operands are all constant by their results; returns how many.

    A result of more than `limit` bytes is folded only where it is no larger
    than its operands, and none that takes more than `MAX_MACS`
    multiplications.
    """
    folded = 0
    for op in list(graph.operators):
        if _foldable(op, limit):
            _fold(graph, op)
            folded += 1
    return folded
