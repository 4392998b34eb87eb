"""Channels that are padded or sliced only to be added: the convolution adds them where they are."""

from __future__ import annotations

from secateur.ir.choice import CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import create

CONVOLUTIONS = {"nn.conv": 2, "q.linear_conv": 3}
"""The first operand that may be added to the result."""


def reach_where_possible(graph: Graph, costs: CostTable) -> Graph:
    """conv(x, w, ..., pad(y)) {..., add}   ->   conv(x, w, ..., y) {..., add, reach = [a, 0, n]}
    conv(x, w, ..., slice(y)) {..., add}   ->   conv(x, w, ..., y) {..., add, reach = [0, s, n]}

    where the pad or slice is along the channels alone, with zeros (the zero point, where quantized), nothing
    else uses it, and the target has a kernel for it. A copy of the graph; itself where there is nothing.
    """
    if not any(_moved(graph, op) for op in graph.operators):
        return graph
    graph = graph.clone()
    for op in list(graph.operators):
        if (moved := _moved(graph, op)) is not None and _is_possible(made := _reaching(op, moved), costs):
            graph.insert_before(op, [made])
            graph.replace_value(op.result, made.result)
    graph.remove_dead()
    return graph


def _is_possible(op: Operator, costs: CostTable) -> bool:
    try:
        return bool(costs.choices(op))
    except SecateurError:
        return False


def _reaching(op: Operator, moved: Operator) -> Operator:
    """The convolution on what is moved."""
    given = {**op.attributes, "reach": _range(moved)}
    made = create(op.name, [*op.operands[:-1], moved.operands[0]], given, op.loc)
    made.result.name = op.result.name
    return made


def _moved(graph: Graph, op: Operator) -> Operator | None:
    """The pad or slice of channels that a convolution adds last and nothing else uses."""
    first = CONVOLUTIONS.get(op.name)
    if first is None or len(op.operands) <= first or op.attributes.get("reach"):
        return None
    if op.name == "nn.conv" and _last_step(op) != "add":
        return None
    last = op.operands[-1]
    moved = last.producer
    alone = moved is not None and graph.use_count(last) == 1 and last.type.shape == op.result.type.shape
    return moved if alone and moved is not None and _range(moved) else None


def _last_step(op: Operator) -> str:
    return next((s.op for s in reversed(op["epilogue"]) if s.function.arity == 2), "")


def _range(op: Operator) -> tuple[int, int, int] | None:
    """Which channels of the result (from, and of the operand, and how many) an operator only moves."""
    if op.operands and op.operands[0].type.rank < 3:
        return None
    if op.name == "nn.pad":
        return _of_pad(op)
    return _of_slice(op) if op.name == "nn.slice" else None


def _of_pad(op: Operator) -> tuple[int, int, int] | None:
    rank, pads = op.result.type.rank, op["pads"]
    others = [n for i, n in enumerate(pads) if i % rank != 1]
    plain = op["mode"] == "constant" and op["value"] == _nothing(op.result) and not any(others)
    return (pads[1], 0, op.operands[0].type.shape[1]) if plain and min(pads) >= 0 and any(pads) else None


def _nothing(value: Value) -> float:
    """What stands for zero."""
    quant = value.type.quant
    return 0.0 if quant is None else float(quant.zero_points[0])


def _of_slice(op: Operator) -> tuple[int, int, int] | None:
    x, y = op.operands[0].type.shape, op.result.type.shape
    along = [i for i, n in enumerate(y) if n != x[i]]
    return (0, op["starts"][1], y[1]) if along == [1] and op["steps"][1] == 1 else None
