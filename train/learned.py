"""Which constants of a graph are learned, which follow the data, and which are part of the network's form."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from ..ir.graph import Graph, Operator, Value


class Role(Enum):
    """What training does with a constant."""

    LEARNED = "learned"  # by its gradient
    RUNNING = "running"  # a statistic that follows the batches
    FIXED = "fixed"


_SLOTS: dict[str, range] = {
    "nn.conv": range(1, 1 << 16),
    "nn.conv_transpose": range(1, 1 << 16),
    "nn.matmul": range(1 << 16),
    "nn.map": range(1, 1 << 16),
    "nn.batch_norm": range(1, 3),
    "nn.instance_norm": range(1, 3),
    "nn.layer_norm": range(1, 3),
    "nn.prelu": range(1, 2),
}
"""Operands that are parameters wherever they are constant floats."""

_SLOTS_OF_TENSORS = ("nn.add", "nn.sub", "nn.mul", "nn.div")
"""Here only those of more than one element: one number (the 1/2 of a GELU) is part of a formula."""

_RUNNING = {"nn.batch_norm": range(3, 5)}


def constants(graph: Graph) -> Iterator[Operator]:
    return (op for op in graph.operators if op.name == "nn.constant")


def role_of(value: Value) -> Role:
    """A constant is learned where any operator reads it as a parameter, directly or merely moved."""
    if not value.type.dtype.is_float:
        return Role.FIXED
    if any(at in _RUNNING.get(op.name, ()) for op, at in value.uses):
        return Role.RUNNING
    return Role.LEARNED if _read_as_parameter(value) else Role.FIXED


def _read_as_parameter(value: Value) -> bool:
    return any(
        _read_as_parameter(op.result) if _is_moved(op) else _is_slot(value, op, at) for op, at in value.uses
    )


def _is_moved(op: Operator) -> bool:
    """Whether the operator only moves the elements of a constant, its sole operand."""
    return len(op.operands) == 1 and op.definition.is_move(op.attributes)


def _is_slot(value: Value, op: Operator, at: int) -> bool:
    if at in _SLOTS.get(op.name, ()):
        return True
    return op.name in _SLOTS_OF_TENSORS and value.type.elements > 1
