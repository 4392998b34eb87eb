"""What removal adds to the next layers' results once their weights are solved anew by least squares.

The law. A layer y = W x, inverse covariance H of x. Without the columns c of a unit, the best weights for
the rest are

    W' = W - W_c (H_cc)^-1 H_c:       and the error's variance grows by   tr(W_c (H_cc)^-1 W_c^T)

(the optimal brain surgeon: Hassibi and Stork, "Second Order Derivatives for Network Pruning", 1993; for
structures: Kurtic et al., "ZipLM", 2023). Units go one by one, each time the one that costs least, after
which H of the rest is H - H_:c (H_cc)^-1 H_c:. What the sum over a group's consumers has lost by then is
exact; that the set is the best one is not claimed. It is the loss that `repair` leaves in each layer.
Channels that no linear operator sums over: see `terms.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..linear.matrices import Array, Floats, Indices
from ..linear.problems import Problem
from .criterion import Criterion, Evidence, Ranking, Rankings
from .readers import rank_by_readers

RIDGE = 1e-3
"""Added to a covariance's diagonal, times its mean: directions that the data barely shows count as noise."""
AT_ONCE = 1 / 64
"""The share of the units left that goes in one step; one unit where that is less."""


@dataclass(eq=False)
class _Layer:
    """A problem that shrinks: weights (times the root of its scale), and the inverse of its covariance."""

    weights: Floats
    inverse: Floats
    columns: dict[int, Indices]

    @classmethod
    def of(cls, problem: Problem) -> _Layer:
        n = len(problem.covariance)
        diagonal = RIDGE * problem.covariance.trace() / n or 1.0
        inverse = np.linalg.inv(problem.covariance + diagonal * np.eye(n))
        weights = np.sqrt(problem.scale) * problem.weights
        if len(weights) > n:
            weights = np.linalg.qr(weights, mode="r")  # the error sees products of columns alone
        return cls(weights, inverse, {u: own for u, own in enumerate(problem.columns) if len(own)})

    def costs(self, size: int) -> Floats:
        """What each unit's removal adds to the error; 0 for those with no columns here."""
        found = np.zeros(size)
        for units, own in _alike(self.columns):
            blocks = self.inverse[own[:, :, None], own[:, None, :]]
            of_unit = self.weights[:, own].transpose(1, 2, 0)
            found[units] = np.einsum("ucr,ucr->u", of_unit, np.linalg.solve(blocks, of_unit))
        return found

    def remove(self, units: Sequence[int]) -> float:
        """Solves the weights anew without the columns of `units`; returns what the error grows by."""
        gone = np.concatenate(
            [np.empty(0, np.intp), *(self.columns.pop(u) for u in units if u in self.columns)]
        )
        kept = np.setdiff1d(np.arange(len(self.inverse)), gone)
        block, lost = self.inverse[np.ix_(gone, gone)], self.weights[:, gone]
        step = np.linalg.solve(block, self.inverse[np.ix_(gone, kept)])
        self.weights = self.weights[:, kept] - lost @ step
        self.inverse = self.inverse[np.ix_(kept, kept)] - self.inverse[np.ix_(kept, gone)] @ step
        self.columns = {u: np.searchsorted(kept, own) for u, own in self.columns.items()}
        return float(np.sum(lost.T * np.linalg.solve(block, lost.T)))


def _alike(columns: dict[int, Indices]) -> Iterator[tuple[list[int], Array]]:
    """Units with equally many columns, and those: units x columns."""
    for length in sorted({len(own) for own in columns.values()}):
        units = [u for u, own in columns.items() if len(own) == length]
        yield units, np.stack([columns[u] for u in units])


def eliminate(parts: Sequence[Problem], size: int) -> Ranking:
    """Units in the order in which they are missed least, with the error left after each.

    Where several go in one step, what the step costs is spread evenly over them.
    """
    layers, left = [_Layer.of(part) for part in parts], list(range(size))
    order, losses, loss = list[int](), list[float](), 0.0
    while left:
        costs = sum((layer.costs(size) for layer in layers), np.zeros(size))
        chosen = sorted(left, key=lambda u: (costs[u], u))[: max(1, int(len(left) * AT_ONCE))]
        step = sum(layer.remove(chosen) for layer in layers)
        losses += [loss + step * (i + 1) / len(chosen) for i in range(len(chosen))]
        loss, left = loss + step, [u for u in left if u not in chosen]
        order += chosen
    return Ranking.of_steps(order, losses)


def rank(evidence: Evidence) -> Rankings:
    return rank_by_readers(evidence, eliminate)


CRITERION = Criterion(
    "reconstruction", "error in the next layers' results, weights solved anew", rank, "data"
)
