"""Filters near the geometric median of their layer: He et al., "Filter Pruning via Geometric Median", 2019.

A filter near the point of least distance to all filters is one that the others can stand in for.
As in the paper the distances from a filter to all filters of its layer are summed; here as a share.
"""

from __future__ import annotations

import numpy as np

from secateur.ir.channels import Group
from secateur.ir.graph import Graph

from ..linear.matrices import Floats
from .criterion import Criterion, unit_by_unit
from .shares import shares


def _distances(filters: Floats) -> Floats:
    squares = np.square(filters).sum(axis=1)
    apart = squares[:, None] + squares[None, :] - 2 * filters @ filters.T
    np.fill_diagonal(apart, 0)
    return np.asarray(np.sqrt(np.maximum(apart, 0)).sum(axis=1))


def importance(graph: Graph, group: Group) -> Floats:
    return shares(graph, group, _distances)


CRITERION = Criterion(
    "fpgm",
    "share of the distances to the layer's other filters",
    unit_by_unit(importance),
)
