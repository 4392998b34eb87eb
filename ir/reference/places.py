"""Where elements are, and elements put where they belong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..graph import Operator
from .rule import Array, Rule, lowest
from .windows import taps


def top_k(op: Operator, arrays: Sequence[Array]) -> Array:
    """A NaN is larger than any number."""
    (x,) = arrays
    axis, k, count = op["axis"] % x.ndim, op["k"], x.shape[op["axis"]]
    if not op["largest"]:
        return np.argsort(x, axis=axis, kind="stable").take(range(k), axis)
    backwards = count - 1 - np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return np.asarray(np.flip(backwards, axis).take(range(k), axis))


def max_pool_index(op: Operator, arrays: Sequence[Array]) -> Array:
    """As for the largest element of an axis, the first NaN counts as the largest."""
    (x,) = arrays
    plane = x.shape[2:]
    numbers = np.arange(math.prod(plane)).reshape(1, 1, *plane)
    best: Any = None
    found: Any = None
    for value, place in zip(
        taps(op, x, op["kernel"], lowest(x.dtype)), taps(op, numbers, op["kernel"], -1), strict=True
    ):
        if best is None:
            best, found = value, np.broadcast_to(place, value.shape)
            continue
        wins = (place >= 0) & ((found < 0) | (value > best) | (np.isnan(value) & ~np.isnan(best)))
        best, found = np.where(wins, value, best), np.where(wins, place, found)
    return np.asarray(found, np.int64)


REDUCTIONS = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


def scatter(op: Operator, arrays: Sequence[Array]) -> Array:
    """ModelError where an index is out of range."""
    x, indices, updates = arrays
    extent = x.shape[1]
    if indices.size and not (-extent <= indices.min() and indices.max() < extent):
        raise ModelError(f"{op!r}: an index is outside axis 1 of extent {extent}")
    result = x.copy()
    reduction = REDUCTIONS.get(op["reduction"])
    for row, i in itertools.product(*map(range, indices.shape)):
        place = (row, indices[row, i])
        result[place] = reduction(result[place], updates[row, i]) if reduction else updates[row, i]
    return result


RULES: dict[str, Rule] = {"top_k": top_k, "max_pool_index": max_pool_index, "scatter": scatter}
