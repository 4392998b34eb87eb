"""Channels that batch norm scales little: Liu et al., "Learning Efficient Convolutional Networks through
Network Slimming", 2017.

The paper compares |scale| over the whole network, which it trained with an L1 penalty on scales. A network
trained without has layers of very different scales, so that here each is a share of its layer's. Groups
without a batch norm are ranked by the L2 norm of their filters.
"""

from __future__ import annotations

import numpy as np

from secateur.ir.channels import Group
from secateur.ir.graph import Graph, constant_of

from ..linear.matrices import Floats
from ..linear.roles import Role, batch_norms
from .criterion import Criterion, unit_by_unit
from .l2 import importance as by_weights
from .shares import total_of


def importance(graph: Graph, group: Group) -> Floats:
    """Shares of |scale|, summed over the batch norms of the group."""
    measured = [
        (role, np.abs(scale)) for role in batch_norms(graph, group) if (scale := _scale(role)) is not None
    ]
    return total_of(measured, group) if measured else by_weights(graph, group)


def _scale(role: Role) -> Floats | None:
    scale = constant_of(role.op.operands[1])
    return None if scale is None else scale.astype(np.float64)


CRITERION = Criterion("batch_norm", "share of the magnitudes of batch norm scales", unit_by_unit(importance))
