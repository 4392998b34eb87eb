"""Which values are the same to the bit on every machine, whatever the order of sums."""

from __future__ import annotations

from .graph import Graph, Operator, Value

_SELECTING = {
    "nn.relu", "nn.clip", "nn.min", "nn.max", "nn.neg", "nn.abs", "nn.where", "nn.cast", "nn.max_pool",
    "nn.equal", "nn.greater", "nn.greater_equal", "nn.less", "nn.less_equal", "nn.argmax", "nn.constant",
}  # fmt: skip


def exact_values(graph: Graph) -> set[Value]:
    """Values that follow from the inputs by integers, moved or picked elements and single roundings alone."""
    known = set(graph.inputs)
    for op in graph.operators:
        if _keeps_exact(op) and all(v in known for v in op.operands):
            known.update(op.results)
    return known


def _keeps_exact(op: Operator) -> bool:
    """Whether exact operands make exact results: `q.` operators state every rounding."""
    integers = all(not v.type.dtype.is_float for v in (*op.operands, *op.results))
    picks = op.name in _SELECTING or op.definition.is_move(op.attributes)
    return op.name.startswith("q.") or picks or integers
