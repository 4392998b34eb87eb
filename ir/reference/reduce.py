"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Operator
from .rule import Array, Rule, widened


def _reduction(function: Callable[..., Any]) -> Rule:
    def rule(op: Operator, arrays: Sequence[Array]) -> Array:
        (x,) = arrays
        found = function(widened(x), axis=tuple(op["axes"]), keepdims=op["keepdims"])
        return np.asarray(found).astype(x.dtype, copy=False)

    return rule


RULES: dict[str, Rule] = {
    "reduce_mean": _reduction(np.mean),
    "reduce_sum": _reduction(np.sum),
    "reduce_max": _reduction(np.max),
    "reduce_min": _reduction(np.min),
}
