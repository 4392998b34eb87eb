"""What a decision means: the same graph with what goes zeroed where it is summed.

A channel that goes is no term of the sums that it was one of. So `masked` has the answers that
`remove` must have, and knows nothing of how anything is removed.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.channels import Channels, Cut, find_channels
from secateur.ir.channels.relations import Relations, place_of
from secateur.ir.graph import Graph, Operator
from secateur.ir.registry import create
from secateur.ir.types import TensorType

from .branches import Bypassed
from .remove import Gone


def masked(
    graph: Graph, gone: Gone, channels: Channels | None = None, bypassed: Bypassed = MappingProxyType({})
) -> Graph:
    """A copy of the graph in which the units `gone` add zero (the zero point where quantized) to every sum,
    and so do the operands that additions are `bypassed` of.

    SecateurError as `remove`.
    """
    cut = Cut(channels or find_channels(graph), gone)
    copy = graph.clone()
    operators = dict(zip(graph.operators, copy.operators, strict=True))
    for op, port, axis in _sums(graph):
        goes = cut.gone(place_of(op, port), axis)
        if goes.any():
            _mask(copy, operators[op], port, axis, goes)
    for op, port in bypassed.items():
        _mask(copy, operators[op], port, 0, np.ones(op.result.type.shape[0], np.bool_))
    return copy


def _sums(graph: Graph) -> list[tuple[Operator, int, int]]:
    """Operator, operand and axis of every sum."""
    relations = Relations(graph)
    return [(op, port, relations.numbering.axes[number][1]) for op, port, number in relations.summed]


def _mask(graph: Graph, op: Operator, port: int, axis: int, goes: NDArray[np.bool_]) -> None:
    """Makes the operator read, at the indices of the axis that go, what adds nothing."""
    type = op.operands[port].type
    here = goes.reshape(_along(type, axis))
    constants = [create("nn.constant", [], {"value": a}) for a in (here, _neutral(type))]
    where = create("nn.where", [constants[0].result, constants[1].result, op.operands[port]])
    where.result.type = type
    graph.insert_before(op, [*constants, where])
    op.set_operand(port, where.result)


def _along(type: TensorType, axis: int) -> list[int]:
    """The shape of a vector along an axis."""
    return [-1 if a == axis else 1 for a in range(type.rank)]


def _neutral(type: TensorType) -> NDArray[Any]:
    """Zero, or the zero points of a quantized tensor, broadcast to no more than needed."""
    if type.quant is None:
        return np.zeros((), type.dtype.numpy)
    points = np.array(type.quant.zero_points, type.dtype.numpy)
    return points.reshape(_along(type, type.quant.axis) if type.quant.axis is not None else ())
