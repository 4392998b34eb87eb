"""What operators do with a group's channels: some make them, some sum over them, batch norms scale them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.ir.channels import Group
from secateur.ir.graph import Graph, Operator, Value

from ...fuse.affine import channel_axis, input_axis
from .matrices import Floats, is_depthwise, is_linear

Units = NDArray[np.int32]
Place = tuple[Value, int]


@dataclass(frozen=True, eq=False)
class Role:
    """An operator, and the unit of each channel of the axis in question; -1: none of this group."""

    op: Operator
    units: Units


def makers(graph: Graph, group: Group) -> list[Role]:
    """Linear operators whose result channels are units of the group, depthwise convolutions too."""
    return list(_roles(graph, group, is_linear, lambda op: (op.results[0], channel_axis(op))))


def consumers(graph: Graph, group: Group) -> list[Role]:
    """Linear operators that sum over units of the group."""

    def sums(op: Operator) -> bool:
        return is_linear(op) and not is_depthwise(op)

    return list(_roles(graph, group, sums, lambda op: (op.operands[0], input_axis(op))))


def batch_norms(graph: Graph, group: Group) -> list[Role]:
    """Batch norms of units of the group."""
    return list(_roles(graph, group, lambda op: op.name == "nn.batch_norm", lambda op: (op.result, 1)))


def _roles(
    graph: Graph,
    group: Group,
    fits: Callable[[Operator], bool],
    place: Callable[[Operator], Place],
) -> Iterator[Role]:
    members = {(member.value, member.axis): member.units for member in group.members}
    for op in graph.operators:
        if fits(op) and (units := members.get(place(op))) is not None:
            yield Role(op, units)


def unit_sums(units: Units, size: int, values: Floats) -> Floats:
    """The sum over each unit's channels of `values`, one a channel."""
    inside = units >= 0
    return np.bincount(units[inside], values[inside], minlength=size).astype(np.float64)
