"""What removal adds to the next layers' results on calibration data, their weights as they are.

The set of units of least error is looked for greedily, as ThiNet does (Luo et al., "ThiNet: A Filter Level
Pruning Method", 2017); errors of different units may cancel, which sums of single errors would miss. The
error of any set is a quadratic form of the layer's weights and the second moments of its input, so that the
data is streamed through once. The mean of an error does not count: the bias takes it up. Channels that no
linear operator sums over: see `terms.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..linear.matrices import Floats
from ..linear.problems import Problem
from .criterion import Criterion, Evidence, Ranking, Rankings
from .readers import rank_by_readers


def greedy(errors: Floats) -> Ranking:
    """Adds to the set the unit that makes the sum of `errors` over it the least, again and again."""
    order, losses, loss = list[int](), list[float](), 0.0
    more, left = errors.diagonal().copy(), np.ones(len(errors), bool)
    for _ in range(len(errors)):
        unit = int(np.argmin(np.where(left, more, np.inf)))
        loss += more[unit]
        order.append(unit)
        losses.append(max(loss, 0.0))
        left[unit] = False
        more += errors[unit] + errors[:, unit]
    return Ranking.of_steps(order, losses)


def _ranked(parts: Sequence[Problem], size: int) -> Ranking:
    return greedy(sum((p.unit_errors() for p in parts), np.zeros((size, size))))


def rank(evidence: Evidence) -> Rankings:
    return rank_by_readers(evidence, _ranked)


CRITERION = Criterion("output_error", "error in the next layers' results, weights unchanged", rank, "data")
