"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Operator
from .rule import Array, Rule, highest, lowest, widened


def _reduction(function: Callable[..., Any], start: Callable[[np.dtype[Any]], Any] | None = None) -> Rule:
    """`start` gives the result over no elements where NumPy has none."""

    def rule(op: Operator, arrays: Sequence[Array]) -> Array:
        (x,) = arrays
        empty = {"initial": start(x.dtype)} if start else {}
        found = function(widened(x), axis=tuple(op["axes"]), keepdims=op["keepdims"], **empty)
        return np.asarray(found).astype(x.dtype, copy=False)

    return rule


def _of(inner: Callable[[Array], Array], outer: Callable[[Array], Array] = lambda x: x) -> Rule:
    """`outer` of the sum of `inner` of the elements."""

    def total(x: Array, **how: Any) -> Array:
        return outer(np.sum(inner(x), **how))

    return _reduction(total)


def argmax(op: Operator, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    axis, keep = op["axis"], op["keepdims"]
    if not op["select_last"]:
        return np.asarray(np.argmax(x, axis=axis, keepdims=keep)).astype(np.int64)
    last = np.argmax(np.flip(x, axis), axis=axis, keepdims=keep)
    return np.asarray(x.shape[axis] - 1 - last).astype(np.int64)


def cumsum(op: Operator, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    turned = np.flip(x, op["axis"]) if op["reverse"] else x
    sums = np.cumsum(widened(turned), axis=op["axis"], dtype=widened(turned).dtype)
    if op["exclusive"]:
        before = np.zeros_like(sums.take(range(min(1, x.shape[op["axis"]])), op["axis"]))
        sums = np.concatenate([before, sums], op["axis"]).take(range(x.shape[op["axis"]]), op["axis"])
    return np.asarray(np.flip(sums, op["axis"]) if op["reverse"] else sums).astype(x.dtype)


RULES: dict[str, Rule] = {
    "reduce_mean": _reduction(np.mean),
    "reduce_sum": _reduction(np.sum),
    "reduce_prod": _reduction(np.prod),
    "reduce_l1": _of(np.abs),
    "reduce_sum_square": _of(np.square),
    "reduce_l2": _of(np.square, np.sqrt),
    "reduce_log_sum": _of(lambda x: x, np.log),
    "reduce_max": _reduction(np.max, lowest),
    "reduce_min": _reduction(np.min, highest),
    "argmax": argmax,
    "cumsum": cumsum,
}
