"""Rounding of real weights to i8 with given steps: to the nearest, or making up for earlier errors.

All is done for a stack of matrices at once (for taps of Winograd's transform, say), in float32.
"""

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


def compensated(u: Floats, unit: Floats, v: Floats, q: Floats, damping: float) -> NDArray[np.int8]:
    """Whole numbers z (taps, M, C) for which, tap by tap, (z unit) q comes near u v over the samples.

    `u` is (taps, M, C), `unit` (taps, M), `v` and `q` (taps, C, samples): the input before and after it was
    rounded.
    """
    turned = np.swapaxes(q, 1, 2)
    second, cross = q @ turned, v @ turned
    damping += 2 * q.shape[1] / q.shape[2]  # with few samples nearly the nearest
    ridge = damping * np.maximum(_diagonals(second).mean(1, keepdims=True), LEAST)
    for moments in (second, cross):
        _diagonals(moments)[:] += ridge
    inverse = np.linalg.inv(second)
    return rounded_in_turn(u @ (cross @ inverse), unit, second, inverse)


def _diagonals(matrices: Floats) -> Floats:
    """A view of the diagonals (n, C) of matrices (n, C, C)."""
    found: Floats = np.einsum("ncc->nc", matrices)
    return found


def rounded_in_turn(w: Floats, unit: Floats, second: Floats, inverse: Floats) -> NDArray[np.int8]:
    """GPTQ (Frantar et al. 2023): columns rounded one after the other, each error spread over those to come.

    `w` is (taps, M, C), `unit` (taps, M); `second` (taps, C, C), positive definite, holds the second moments
    of what the columns meet, with its `inverse`. Those that weigh most go first, while most columns are left
    to make up for their error.
    """
    order = np.argsort(-_diagonals(second), axis=1, kind="stable")
    rows, columns = order[:, :, None], order[:, None, :]
    permuted = np.take_along_axis(np.take_along_axis(inverse, rows, 1), columns, 2)
    spread = np.linalg.cholesky(permuted)  # [:, i, j]: what an error of column j leaves for column i
    left = np.take_along_axis(np.swapaxes(w / unit[:, :, None], 1, 2), rows, 1)
    for start in range(0, left.shape[1], BLOCK):
        part, rest = slice(start, start + BLOCK), slice(start + BLOCK, None)
        errors = _round_block(left[:, part], spread[:, part, part])
        left[:, rest] -= spread[:, rest, part] @ errors
    found = np.empty(left.shape, np.int8)
    np.put_along_axis(found, rows, left.astype(np.int8), 1)
    return np.ascontiguousarray(np.swapaxes(found, 1, 2))


def _round_block(left: Floats, spread: Floats) -> Floats:
    """Rounds columns (taps, columns, M) in turn, in place; what each leaves for those after them."""
    errors = np.empty_like(left)
    for i in range(left.shape[1]):
        whole = np.clip(np.rint(left[:, i]), -127, 127)
        errors[:, i] = (left[:, i] - whole) / spread[:, i, i, None]
        left[:, i] = whole
        left[:, i + 1 :] -= spread[:, i + 1 :, i, None] * errors[:, i, None]
    return errors
