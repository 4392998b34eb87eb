"""How much the loss on labelled data changes to first order: Molchanov et al., "Importance Estimation for
Neural Network Pruning", 2019, equation 8.

Removal sets to zero the weights W_c by which the next layers meet a unit's channels, so that to first order
the loss changes by the sum of weight times gradient over them. That is squared, and its mean taken over
batches. The numbers are changes of one loss, so that they compare between groups as they are.
Gradients are handed in: `secateur.train` takes them from its torch module.
"""

from __future__ import annotations

import numpy as np

from secateur.ir.channels import Group
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator

from ..linear.matrices import Floats, column_channels, matrices
from ..linear.roles import Role, consumers, unit_sums
from .criterion import Criterion, Evidence, Ranking, Rankings


def rank(evidence: Evidence) -> Rankings:
    assert evidence.gradients is not None, "the list of criteria checks what each needs"
    roles = {group: consumers(evidence.graph, group) for group in evidence.groups}
    operators = list(dict.fromkeys(role.op for of_group in roles.values() for role in of_group))
    found, batches = {group: np.zeros(group.size) for group in roles}, 0
    for arrays in evidence.gradients(evidence.graph, [op.operands[1] for op in operators]):
        batches += 1
        changes = {op: _by_channel(op, a) for op, a in zip(operators, arrays, strict=True)}
        for group, of_group in roles.items():
            found[group] += np.square(_change(group, of_group, changes))
    if not batches:
        raise SecateurError("criterion taylor needs labelled data, and there is not one batch")
    return {group.name: Ranking.of_importance(sums / batches) for group, sums in found.items()}


def _by_channel(op: Operator, gradient: Floats) -> Floats:
    """Weight times gradient, summed for each input channel."""
    products = (matrices(op) * matrices(op, gradient)).sum(axis=1)
    return np.bincount(column_channels(op).ravel(), products.ravel()).astype(np.float64)


def _change(group: Group, roles: list[Role], changes: dict[Operator, Floats]) -> Floats:
    sums = (unit_sums(role.units, group.size, changes[role.op]) for role in roles)
    return sum(sums, np.zeros(group.size))


CRITERION = Criterion("taylor", "first-order change of the loss on labelled data", rank, "gradients")
