"""Which values are the same to the bit on every machine, whatever the order of sums."""

from __future__ import annotations

from .graph import Graph, Operator, Value
from .registry import registry

_SELECTING = {
    "relu", "clip", "min", "max", "neg", "abs", "where", "cast", "max_pool",
    "equal", "greater", "greater_equal", "less", "less_equal", "argmax", "constant",
}  # fmt: skip


def exact_values(graph: Graph) -> set[Value]:
    """Values that follow from the inputs by integers, moved or picked elements and single roundings alone."""
    known = set(graph.inputs)
    for op in graph.operators:
        if _keeps_exact(op) and all(v in known for v in op.operands):
            known.update(op.results)
    return known


def _keeps_exact(op: Operator) -> bool:
    """Whether exact operands make exact results: quantized operators state every rounding."""
    kind = op.name.split(".", 1)[1]  # without the stage, for a chosen primitive is `prim.`
    steps = {step.op for step in op["epilogue"]} if kind == "map" else {kind}
    integers = all(not v.type.dtype.is_float for v in (*op.operands, *op.results))
    moves = op.definition.is_move(op.attributes)
    return f"q.{kind}" in registry() or steps <= _SELECTING or moves or integers
