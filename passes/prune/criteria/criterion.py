"""What a criterion is: how much is lost when units of a group go, and which go first.

Losses of different groups are comparable, so that their sum over groups is what
a decision costs. Criteria of weights give *shares*: what all units of a group have of a
layer that makes them sums to 1, and a group's units count in every layer that makes them.
Criteria of data give what removal adds to the variance of the next layers' results, as a
share of that: 1 is a layer all of whose signal is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.channels import Group
from secateur.ir.graph import Graph, Value

from ..linear.matrices import Floats, Indices
from ..linear.moments import Data

Array = NDArray[Any]
Gradients = Callable[[Graph, Sequence[Value]], Iterable[list[Array]]]
"""For each labelled batch, the gradient of the mean loss by each of some constants, shaped as those."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What criteria look at: a float network, its groups, calibration data, gradients where there are some.

    `sensitivity` says how much of the relative error of a result
    reaches the network's outputs (see `sensitivity.py`); 1 for each where it is not known.
    """

    graph: Graph
    groups: Sequence[Group]
    data: Data = field(default_factory=Data)
    gradients: Gradients | None = None
    sensitivity: Mapping[Value, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Units of a group in the order in which they go, and the loss once the first n are gone, n = 0..size.

    Losses never fall, and the first is 0.
    """

    order: Indices
    losses: Floats

    @classmethod
    def of_importance(cls, importance: Floats) -> Ranking:
        """The least important first; losses add up."""
        order = np.argsort(importance, kind="stable")
        return cls(order, np.concatenate([[0.0], np.cumsum(importance[order])]))

    @classmethod
    def of_steps(cls, order: Sequence[int], losses: Sequence[float]) -> Ranking:
        """Units as they went, with the loss after each; one that falls counts as the one before."""
        return cls(np.array(order, np.intp), np.maximum.accumulate([0.0, *losses]))

    @property
    def size(self) -> int:
        return len(self.order)

    def gone(self, count: int) -> Indices:
        """The units that go where `count` go, ascending."""
        return np.sort(self.order[:count])

    @property
    def curve(self) -> Floats:
        """The loss of keeping the best k units, k = 1..size."""
        return self.losses[:-1][::-1]

    @property
    def importance(self) -> Floats:
        """One number a unit: sorting by it gives `order`, and the n smallest sum to `losses[n]` at least.

        They sum to more where a later unit costs less than one before it.
        """
        steps = np.maximum.accumulate(np.diff(self.losses))
        for at in range(1, len(steps)):
            steps[at] = max(steps[at], np.nextafter(steps[at - 1], np.inf))
        found = np.empty(self.size)
        found[self.order] = steps
        return found


Rankings = dict[str, Ranking]


@dataclass(frozen=True)
class Criterion:
    """A way to rank the units of every group; `needs` is "", "data" or "gradients"."""

    name: str
    doc: str
    rank: Callable[[Evidence], Rankings] = field(repr=False)
    needs: str = ""


def unit_by_unit(importance: Callable[[Graph, Group], Floats]) -> Callable[[Evidence], Rankings]:
    """The ranking of a criterion that looks at one unit after another, by weights alone."""

    def rank(evidence: Evidence) -> Rankings:
        return {g.name: Ranking.of_importance(importance(evidence.graph, g)) for g in evidence.groups}

    return rank
