"""What a residual sum has lost so far, for the branch that is repaired last to make good.

    y = branch + other     The branch's target is what it was, plus other before - other now.

He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", 2017, section 3.2. The branch may end
in a batch norm, whose slope the difference is divided by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.ir.graph import Operator, Value

from ...fuse.affine import batch_norm_affine
from ..linear.matrices import Floats
from .replay import Replay

FLAT = 1e-2
"""Slopes below this share of the steepest one carry nothing to the sum."""


@dataclass(frozen=True, eq=False)
class Sum:
    """The other operand of the sum that a value goes into, and the slope of each channel on the way there."""

    other: Value
    slope: Floats | float


def sum_behind(value: Value, run: Replay) -> Sum | None:
    """Where the only use of `value` is an addition, directly or behind a batch norm, to a known value."""
    if len(value.users) != 1 or run.graph.is_output(value):
        return None
    (user,) = value.users
    if user.name == "nn.batch_norm":
        affine, behind = batch_norm_affine(user), sum_behind(user.result, run)
        if affine is None or behind is None or user.result.users[0].name != "nn.add":
            return None
        return Sum(behind.other, affine[0] * behind.slope)
    return _addition(user, value, run)


def _addition(user: Operator, value: Value, run: Replay) -> Sum | None:
    if user.name != "nn.add":
        return None
    other = user.operands[user.reads(value, 0)]
    return Sum(other, 1.0) if other.type == value.type and run.knows(other) else None


def inverse(slope: Floats | float) -> Floats:
    """1 / slope; 0 where the slope is next to nothing beside the steepest."""
    slopes = np.atleast_1d(np.asarray(slope, np.float64))
    steep = np.abs(slopes) > FLAT * np.abs(slopes).max()
    return np.where(steep, 1 / np.where(steep, slopes, 1), 0.0)
