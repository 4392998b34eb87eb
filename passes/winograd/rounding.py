"""Rounding of real weights to i8 with given steps: to the nearest, or making up for earlier errors.

All is done for a stack of matrices at once (for taps of Winograd's transform, say), in float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from secateur.ir.support.room import MOST_SIGNED

from .room import is_paired, largest_pair

Floats = NDArray[Any]
LEAST = 1e-30
BLOCK = 32  # columns taken one by one; larger blocks meet in matrix products


def steps_of(u: Floats, whole: bool = False, paired: bool = False) -> Floats:
    """The step of each tap and filter of (taps, M, C) that lets 127 reach the largest: (taps, M).

    Or a larger one, where `paired` blocks of channels have room; with `whole` one step for all.
    """
    most = np.abs(u).max(2)
    if whole:
        most = np.full(most.shape, most.max())
    elif paired and is_paired(u.shape[2]):
        most = np.maximum(most, largest_pair(u) * (127 / MOST_SIGNED))
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
    turns = turns_of(second)
    wanted = turns.ordered(u @ cross) @ turns.spread @ np.swapaxes(turns.spread, 1, 2)
    return rounded(wanted, unit, turns)


class Turns(NamedTuple):
    """In which order the columns of each matrix are rounded, and what their errors leave for others.

    `spread` (taps, C, C), lower triangular, has the inverse second moments, in that order, as its square.
    """

    order: NDArray[np.intp]  # (taps, C)
    spread: Floats

    def ordered(self, w: Floats) -> Floats:
        """The columns of (taps, M, C) in turn."""
        return np.take_along_axis(w, self.order[:, None, :], 2)


def turns_of(second: Floats) -> Turns:
    """From second moments (taps, C, C)."""
    order = np.argsort(-_diagonals(second), axis=1, kind="stable")
    backwards = order[:, ::-1]
    permuted = np.take_along_axis(second, backwards[:, :, None], 1)
    permuted = np.take_along_axis(permuted, backwards[:, None, :], 2)
    spread = np.swapaxes(_inverse_root(permuted), 1, 2)[:, ::-1, ::-1]
    return Turns(order, np.ascontiguousarray(spread))  # products of reversed arrays are slow


def _inverse_root(a: Floats) -> Floats:
    """L^-1 for a = L L^T (taps, n, n), L lower triangular: by halves, so nearly all is matrix products."""
    if a.shape[1] <= BLOCK:
        return np.tril(np.linalg.inv(np.linalg.cholesky(a)))
    half = a.shape[1] // 2
    first = _inverse_root(a[:, :half, :half])
    below = a[:, half:, :half] @ np.swapaxes(first, 1, 2)
    last = _inverse_root(a[:, half:, half:] - below @ np.swapaxes(below, 1, 2))
    found = np.zeros_like(a)
    found[:, :half, :half], found[:, half:, half:] = first, last
    found[:, half:, :half] = -(last @ (below @ first))
    return found


def _diagonals(matrices: Floats) -> Floats:
    """A view of the diagonals (n, C) of matrices (n, C, C)."""
    found: Floats = np.einsum("ncc->nc", matrices)
    return found


def rounded(w: Floats, unit: Floats, turns: Turns) -> NDArray[np.int8]:
    """`w` (taps, M, C) with its columns in turn, rounded; the columns of the result in their own places.

    GPTQ (Frantar et al. 2023): columns are rounded one after the other, each error spread over those to
    come. Those that weigh most go first, while most columns are left to make up for their error.
    """
    left = np.ascontiguousarray(np.swapaxes(w / unit[:, :, None], 1, 2))
    for start in range(0, left.shape[1], BLOCK):
        part, rest = slice(start, start + BLOCK), slice(start + BLOCK, None)
        errors = _round_block(left[:, part], turns.spread[:, part, part])
        left[:, rest] -= turns.spread[:, rest, part] @ errors
    found = np.empty(w.shape, np.int8)
    np.put_along_axis(found, turns.order[:, None, :], np.swapaxes(left, 1, 2).astype(np.int8), 2)
    return found


def _round_block(left: Floats, spread: Floats) -> Floats:
    """Rounds columns (taps, columns, M) in turn, in place; what each leaves for those after them."""
    errors = np.empty_like(left)
    for i in range(left.shape[1]):
        whole = np.clip(np.rint(left[:, i]), -127, 127)
        errors[:, i] = (left[:, i] - whole) / spread[:, i, i, None]
        left[:, i] = whole
        left[:, i + 1 :] -= spread[:, i + 1 :, i, None] * errors[:, i, None]
    return errors
