"""Carried channels, and sums of channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Operator
from ..ranges import indices_of, shared_out
from .rule import Array, Rule


def carry(op: Operator, arrays: Sequence[Array]) -> Array:
    return arrays[0][:, np.array(indices_of(op["ranges"]), np.intp)]


def channel_sum(op: Operator, arrays: Sequence[Array]) -> Array:
    """Operands are added one after another, as a chain of additions would."""
    total = np.zeros(op.result.type.shape, arrays[0].dtype)
    covered = np.zeros(op.result.type.shape[1], bool)
    for x, part in zip(arrays, shared_out(op["ranges"], [x.shape[1] for x in arrays]), strict=True):
        at = np.array(part, np.intp)
        new = ~covered[at]
        total[:, at[new]] = x[:, new]
        total[:, at[~new]] += x[:, ~new]
        covered[at] = True
    return total


RULES: dict[str, Rule] = {"carry": carry, "channel_sum": channel_sum}
