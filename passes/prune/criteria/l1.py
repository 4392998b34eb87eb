"""Filters of small L1 norm: Li et al., "Pruning Filters for Efficient ConvNets", 2017.

The paper ranks the filters of one layer; a unit's share of the layer's norms makes layers comparable.
"""

from __future__ import annotations

import numpy as np

from secateur.ir.channels import Group
from secateur.ir.graph import Graph

from ..linear.matrices import Floats
from .criterion import Criterion, unit_by_unit
from .shares import shares


def _norms(filters: Floats) -> Floats:
    return np.asarray(np.abs(filters).sum(axis=1))


def importance(graph: Graph, group: Group) -> Floats:
    return shares(graph, group, _norms)


CRITERION = Criterion(
    "l1",
    "share of the sum of magnitudes of the layer's weights",
    unit_by_unit(importance),
)
