"""Shares: how much of a layer's filters each unit of a group has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from secateur.ir.channels import Group
from secateur.ir.graph import Graph, Operator

from ..linear.matrices import Floats, matrices, row_channels
from ..linear.roles import Role, makers, unit_sums

Measure = Callable[[Floats], Floats]
"""From filters (channels x weights) to one number, not negative, for each."""


def filters(op: Operator) -> Floats:
    """The weights that make each result channel: channels x weights."""
    rows, channels = matrices(op), row_channels(op)
    count = int(channels.max()) + 1
    return rows.reshape(count, -1)


def shares(graph: Graph, group: Group, measure: Measure) -> Floats:
    """For each unit what `measure` gives its filters over what it gives all, summed over their makers."""
    return total_of([(role, measure(filters(role.op))) for role in makers(graph, group)], group)


def total_of(measured: list[tuple[Role, Floats]], group: Group) -> Floats:
    """The shares of one number a channel for each role; units alike where nothing tells them apart."""
    found = np.zeros(group.size)
    for role, values in measured:
        sums = unit_sums(role.units, group.size, values)
        found += sums / sums.sum() if sums.sum() > 0 else 1 / group.size
    return found if measured else np.full(group.size, 1 / group.size)
