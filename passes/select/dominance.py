"""Partial plans that another makes needless: it costs as little time and as little of what has a limit."""

from __future__ import annotations

import numpy as np

from .trellis import Floats, Ints


def undominated(state: Ints, cost: Floats, toll: Floats) -> Ints:
    """The numbers, in order of states, of those of which no other of the same state has as little of both."""
    order: Ints = np.lexsort((toll, cost, state))
    _, rank = np.unique(toll[order], return_inverse=True)
    # States count downwards, so that the running minimum starts anew with each.
    key = rank - state[order] * (len(rank) + 1)
    least = np.minimum.accumulate(key)
    better = np.ones(len(key), np.bool_)
    better[1:] = key[1:] < least[:-1]
    return order[better]
