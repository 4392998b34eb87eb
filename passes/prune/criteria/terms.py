"""Groups that are terms of opened sums: rows of filters and carried channels, which no weights read.

What goes is missing from the sum as it is, so the loss is the share of the sum's variance on calibration
data that the term has, times the sum's sensitivity: 1 is all of the signal. Errors of different channels do
not meet in a sum of channels, so losses add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from secateur.ir.channels import Group
from secateur.ir.graph import Operator, Value

from ..linear.matrices import Floats
from ..linear.roles import unit_sums
from .criterion import Evidence, Ranking, Rankings
from .l2 import importance as by_weights

SUM = "nn.channel_sum"


@dataclass(eq=False)
class _Spread:
    """Sums over images and pixels, by channel."""

    count: int = 0
    sums: Floats = field(default_factory=lambda: np.zeros(()))
    squares: Floats = field(default_factory=lambda: np.zeros(()))

    def add(self, x: Floats) -> None:
        others = (0, *range(2, x.ndim))
        self.count += x.size // max(1, x.shape[1])
        self.sums = self.sums + x.sum(axis=others)
        self.squares = self.squares + np.square(x).sum(axis=others)

    @property
    def variances(self) -> Floats:
        return np.maximum(self.squares / self.count - np.square(self.sums / self.count), 0.0)


def _terms(group: Group) -> Iterator[tuple[Operator, Value]]:
    """The sums that the group's channels are terms of."""
    for member in group.members:
        if member.axis == 1:
            yield from ((op, member.value) for op in dict.fromkeys(member.value.users) if op.name == SUM)


def rank_terms(evidence: Evidence, groups: Sequence[Group]) -> Rankings:
    """Of groups that no linear operator sums over: by their share of sums, else by the L2 norm of filters."""
    terms = {group.name: list(_terms(group)) for group in groups}
    values = [v for found in terms.values() for op, value in found for v in (value, op.result)]
    variances = _variances(evidence, list(dict.fromkeys(values)))

    def importance(group: Group) -> Floats:
        if not terms[group.name]:
            return by_weights(evidence.graph, group)
        shares = [_share(evidence, group, *term, variances) for term in terms[group.name]]
        return np.asarray(np.sum(shares, axis=0))

    return {group.name: Ranking.of_importance(importance(group)) for group in groups}


def _variances(evidence: Evidence, values: Sequence[Value]) -> dict[Value, Floats]:
    spreads = [_Spread() for _ in values]
    for arrays in evidence.data.values(evidence.graph, values) if values else ():
        for spread, x in zip(spreads, arrays, strict=True):
            spread.add(np.asarray(x, np.float64))
    return {value: spread.variances for value, spread in zip(values, spreads, strict=True)}


def _share(
    evidence: Evidence, group: Group, op: Operator, value: Value, variances: dict[Value, Floats]
) -> Floats:
    whole = float(variances[op.result].sum())
    weight = evidence.sensitivity.get(op.result, 1.0) / whole if whole > 0 else 0.0
    return unit_sums(group.member(value).units, group.size, variances[value] * weight)
