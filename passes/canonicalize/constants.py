"""Constant folding through the reference interpreter."""

from __future__ import annotations

from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.initializers import name_of_folded
from secateur.ir.interpreter import evaluate
from secateur.ir.registry import create

MAX_MACS = 10**8


def holds_integers(graph: Graph) -> bool:
    """Whether a value that is computed is quantized."""
    return any(v.type.quant is not None for op in graph.operators if op.operands for v in op.results)


def _foldable(op: Operator, limit: int) -> bool:
    if op.name == "nn.constant" or any(constant_of(v) is None for v in op.operands):
        return False
    size = sum(r.type.bytes for r in op.results)
    small = size <= max(limit, sum(v.type.bytes for v in op.operands))
    return small and op.macs <= MAX_MACS


def _folded(graph: Graph, op: Operator) -> list[Operator]:
    """The constants that now stand for an operator's results."""
    constants = []
    arrays, name = [constant_of(v) for v in op.operands], name_of_folded(op)
    for old, array in zip(op.results, evaluate(op, [a for a in arrays if a is not None]), strict=True):
        constant = create(
            "nn.constant", [], {"value": array.copy() if array.base is not None else array}, op.loc
        )
        constants.append(constant)
        constant.result.name, constant.result.type = (
            old.name or name,
            old.type,
        )  # the type tells a quantization too
        graph.replace_value(old, constant.result)
    return constants


def _integers_matter(op: Operator) -> bool:
    """Whether it dequantizes for more than a batch norm, whose parameters no rule takes as integers."""
    return op.name == "q.dequantize" and any(user.name != "nn.batch_norm" for user in op.result.users)


def fold_constants(graph: Graph, limit: int, dequantize: bool = False) -> int:
    """Replaces operators whose operands are all constant by their results; returns how many.

    A result of more than `limit` bytes is folded only where it is no larger
    than its operands, and none that takes more than `MAX_MACS`
    multiplications. In a quantized network dequantized constants are kept for
    the rules that want their integers, unless `dequantize`.
    """
    keep = not dequantize and holds_integers(graph)
    folded: dict[Operator, list[Operator]] = {}
    for op in graph.operators:
        if not (keep and _integers_matter(op)) and _foldable(op, limit):
            folded[op] = _folded(graph, op)
    graph.replace_operators(folded)
    return len(folded)
