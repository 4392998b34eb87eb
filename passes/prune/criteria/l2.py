"""Filters of small L2 norm, as soft filter pruning ranks them: He et al., "Soft Filter Pruning", 2018.

The share is of squared norms: on white input it is the share of the layer's energy.
"""

from __future__ import annotations

import numpy as np

from secateur.ir.channels import Group
from secateur.ir.graph import Graph

from ..linear.matrices import Floats
from .criterion import Criterion, unit_by_unit
from .shares import shares


def _energies(filters: Floats) -> Floats:
    return np.asarray(np.square(filters).sum(axis=1))


def importance(graph: Graph, group: Group) -> Floats:
    return shares(graph, group, _energies)


CRITERION = Criterion(
    "l2",
    "share of the sum of squares of the layer's weights",
    unit_by_unit(importance),
)
