"""Channels that are nearly linear combinations of others, which the next layer can absorb.

Column-pivoted QR of a group's channels over calibration inputs, as Chee et al., "Model Preserving Compression
for Neural Networks", 2022, prune by. On second moments it is a Cholesky factorization with pivots: each time
the channel that explains most of what is left of all channels is taken (Farahat et al., "An Efficient Greedy
Method for Unsupervised Feature Selection", 2011). Those taken last go first. The loss is the share of the
channels' variance that the kept ones leave unexplained, in the mean over the layers that sum over them; no
weights are looked at. 0 is a channel that the next layer absorbs exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..linear.matrices import Floats
from ..linear.problems import Problem
from .criterion import Criterion, Evidence, Ranking, Rankings
from .readers import rank_by_readers


def channel_covariance(part: Problem) -> Floats:
    """units x units, as shares of the whole variance: taps of one channel are samples of it, added up.

    Of units with several channels here, the i-th of one is paired with the i-th of another.
    """
    longest = max(len(own) for own in part.columns)
    found = np.zeros((len(part.columns),) * 2)
    for i in range(longest):
        units = [u for u, own in enumerate(part.columns) if i < len(own)]
        columns = [part.columns[u][i] for u in units]
        found[np.ix_(units, units)] += part.covariance[np.ix_(columns, columns)]
    whole = found.trace()
    return found / whole if whole > 0 else found


def pivoted(covariance: Floats) -> Ranking:
    """Units from the last pivot to the first, with the share of variance unexplained without them."""
    left, order, unexplained = covariance.copy(), list[int](), [float(covariance.trace())]
    free = np.ones(len(left), bool)
    for _ in range(len(left)):
        own = left.diagonal()
        alive = free & (own > 1e-12 * covariance.trace())
        gains = np.where(alive, np.square(left).sum(axis=0) / np.where(alive, own, 1), -1.0)
        unit = int(np.argmax(np.where(free, gains, -np.inf)))
        if alive[unit]:
            left -= np.outer(left[:, unit], left[unit]) / own[unit]
        free[unit] = False
        order.append(unit)
        unexplained.append(max(float(left.trace()), 0.0))
    return Ranking.of_steps(order[::-1], (np.array(unexplained[-2::-1]) - unexplained[-1]).tolist())


def _ranked(parts: Sequence[Problem], size: int) -> Ranking:
    return pivoted(sum(map(channel_covariance, parts), np.zeros((size, size))) / len(parts))


def rank(evidence: Evidence) -> Rankings:
    return rank_by_readers(replace(evidence, sensitivity={}), _ranked)


CRITERION = Criterion(
    "dependence", "share of the channels' variance that the others do not explain", rank, "data"
)
