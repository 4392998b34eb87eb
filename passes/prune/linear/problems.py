"""What removal of a group's units does to the results of one layer, as a quadratic form.

A layer y = W x + b of input covariance G. Without the columns S of x its result errs by W_S x_S, which has
variance tr(W_S G_SS W_S^T) about its mean; the mean goes into b, so it does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.ir.channels import Group
from secateur.ir.graph import Graph, Value

from .matrices import Floats, Indices, column_channels, matrices
from .moments import Data, Moments, second_moments
from .roles import Role, consumers


@dataclass(frozen=True, eq=False)
class Problem:
    """One matrix of a consumer: rows x n, the covariance of its n columns, and each unit's columns.

    `scale` makes variances losses: the inverse of the variance of all that the consumer computes, times its
    sensitivity.
    """

    weights: Floats
    covariance: Floats
    columns: tuple[Indices, ...]
    scale: float

    def unit_errors(self) -> Floats:
        """units x units: what removal of a set loses is the sum over the rows and columns of the set."""
        units = [u for u, own in enumerate(self.columns) if len(own)]
        order = np.concatenate([self.columns[u] for u in units])
        starts = np.cumsum([0, *(len(self.columns[u]) for u in units[:-1])])
        weights = self.weights[:, order]
        by_column = self.scale * (weights.T @ weights) * self.covariance[np.ix_(order, order)]
        found = np.zeros((len(self.columns),) * 2)
        found[np.ix_(units, units)] = np.add.reduceat(np.add.reduceat(by_column, starts, 0), starts, 1)
        return found


def problems(
    graph: Graph, groups: Sequence[Group], data: Data, sensitivity: Mapping[Value, float]
) -> Iterator[tuple[Group, list[Problem]]]:
    """Each group with the problems of all its consumers, as soon as the data for those has come in.

    A group without consumers comes first, with none.
    """
    roles = {group: consumers(graph, group) for group in groups}
    waiting = {group: {role.op for role in of_group} for group, of_group in roles.items()}
    found: dict[Group, list[Problem]] = {group: [] for group in groups}
    yield from ((group, []) for group in groups if not waiting[group])
    operators = list(dict.fromkeys(role.op for of_group in roles.values() for role in of_group))
    for op, moments in second_moments(graph, operators, data):
        for group in [group for group, ops in waiting.items() if op in ops]:
            for role in (role for role in roles[group] if role.op is op):
                found[group] += _of(role, group, moments, sensitivity.get(op.result, 1.0))
            waiting[group].discard(op)
            if not waiting[group]:
                yield group, found.pop(group)


def _of(role: Role, group: Group, moments: Moments, sensitivity: float) -> Iterator[Problem]:
    weights, covariances = matrices(role.op), moments.covariances
    whole = float(np.einsum("gri,gij,grj->", weights, covariances, weights, optimize=True))
    units = role.units[column_channels(role.op)]
    scale = sensitivity / whole if whole > 0 else 0.0
    for w, covariance, of_column in zip(weights, covariances, units, strict=True):
        if (of_column >= 0).any():
            yield Problem(
                w, covariance, tuple(np.flatnonzero(of_column == u) for u in range(group.size)), scale
            )
