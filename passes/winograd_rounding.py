"""Rounding of real weights to i8 with given steps: to the nearest, or making up for earlier errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
LEAST = 1e-30
BLOCK = 32  # columns whose errors reach the rest by one matrix product


def steps_of(u: Floats, whole: bool = False) -> Floats:
    """The step of each tap and filter of (taps, M, C) that lets 127 reach the largest: (taps, M)."""
    most = np.abs(u).max(2)
    if whole:
        most = np.full(most.shape, most.max())
    found: Floats = np.maximum(most, LEAST) / 127
    return found


def nearest(u: Floats, unit: Floats) -> NDArray[np.int8]:
    return np.clip(np.rint(u / unit[:, :, None]), -127, 127).astype(np.int8)


def compensated(w: Floats, unit: Floats, v: Floats, q: Floats, damping: float) -> NDArray[np.int8]:
    """Whole numbers z (M, C) for which (z unit) q comes near w v over the samples.

    `w` is (M, C), `unit` (M,), `v` and `q` (C, samples): the input before and after it was rounded.
    """
    second = q @ q.T
    damping += 2 * q.shape[0] / q.shape[1]  # with few samples nearly the nearest
    ridge = damping * max(float(np.trace(second)) / len(second), LEAST) * np.eye(len(second))
    wanted = np.linalg.solve(second + ridge, (v @ q.T + ridge).T @ w.T).T
    return rounded_in_turn(wanted, unit, second + ridge)


def rounded_in_turn(w: Floats, unit: Floats, second: Floats) -> NDArray[np.int8]:
    """GPTQ (Frantar et al. 2023): columns rounded one after the other, each error spread over those to come.

    `second` (C, C), positive definite, holds the second moments of what the columns meet. Those that weigh
    most go first, while most columns are left to make up for their error.
    """
    order = np.argsort(-np.diag(second), kind="stable")
    spread = np.linalg.cholesky(np.linalg.inv(second[np.ix_(order, order)])).T
    left, found = w[:, order] / unit[:, None], np.empty(w.shape, np.int8)
    for start in range(0, w.shape[1], BLOCK):
        part = slice(start, min(start + BLOCK, w.shape[1]))
        found[:, order[part]], errors = _rounded_block(left[:, part], spread[part, part])
        left[:, part.stop :] -= errors @ spread[part, part.stop :]
    return found


def _rounded_block(left: Floats, spread: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Some columns rounded in turn, and what each leaves for the columns after them; changes `left`."""
    found, errors = np.empty(left.shape, np.int8), np.empty(left.shape)
    for i in range(left.shape[1]):
        found[:, i] = np.clip(np.rint(left[:, i]), -127, 127)
        errors[:, i] = (left[:, i] - found[:, i]) / spread[i, i]
        left[:, i + 1 :] -= errors[:, i, None] * spread[i, i + 1 :]
    return found, errors


def rounded_weights(w: Floats, second: Floats, damping: float = 0.01) -> tuple[NDArray[np.int8], Floats]:
    """Weights (M, K) as i8 with one step for each row, the result's error least over the samples.

    `second` (K, K) is sum of x x^T over samples x of the input less its zero point. Returns the i8 and the
    steps (M,), which are those of rounding to the nearest.
    """
    unit = np.maximum(np.abs(w).max(1), LEAST) / 127
    ridge = damping * max(float(np.trace(second)) / len(second), LEAST) * np.eye(len(second))
    return rounded_in_turn(w.astype(np.float64), unit, second + ridge), unit
