"""Weights by least squares: from inputs as they are in the pruned network to results as they were.

The law. For a layer with columns x' in the pruned network, weights W (the original ones that are left), and
t what its results were before (with what the sum behind it has lost so far, see `compensation.py`), over the
sampled windows

    W' = W + D (C + ridge I)^-1        C = cov(x', x')    D = cov(t - W x', x')

and the bias gains the mean of t - W' x'. The ridge, `RIDGE` times the mean of C's diagonal, pulls towards W
and not towards zero, so that directions which the data does not show stay as they were trained. Both
covariances are summed over batches: memory is 8 bytes times (columns + rows) times columns for each group of
the layer, (k k Cin)^2 and a little for a convolution, however much data there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from secateur.ir.graph import Operator

from ..linear.matrices import Array, Floats, Indices, matrices, row_channels
from ..linear.moments import Moments

RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class Sample:
    """What one batch says: columns in the pruned network and before, and what results should have on top."""

    pruned: Array  # groups x samples x columns
    original: Array  # the same of the original layer
    more: Array | None = None  # samples x kept channels


@dataclass(frozen=True, eq=False)
class Solution:
    """Matrices as the operator's, and what the bias of each result channel gains."""

    matrices: Floats
    bias: Floats


@dataclass(eq=False)
class _Sums:
    """Moments of columns, and of residuals (groups x rows) with them."""

    columns: Moments
    residuals: Floats
    cross: Floats

    def add(self, columns: Array, residuals: Array) -> None:
        self.columns.add(columns)
        self.residuals += residuals.sum(axis=1, dtype=np.float64)
        self.cross += np.matmul(residuals.swapaxes(1, 2), columns)


def solve(
    original: Operator, pruned: Operator, kept: Indices, samples: Iterable[Sample], centred: bool
) -> Solution:
    """New matrices for `pruned`, whose result channels are those of `original` at `kept`.

    Without `centred` the layer has no bias to move, and sums are matched instead of deviations from means.
    """
    before, now = matrices(original), matrices(pruned)
    groups, rows, columns = now.shape
    rows_kept = np.flatnonzero(np.isin(row_channels(original).ravel(), kept))
    zeros = np.zeros((groups, rows))
    sums = _Sums(Moments.nothing(groups, columns), zeros, np.zeros(now.shape))
    for sample in samples:
        target = _results(before, sample.original)[:, rows_kept]
        error = target - _results(now, sample.pruned)
        if sample.more is not None:
            error += sample.more
        sums.add(
            sample.pruned, error.reshape(len(error), groups, rows).swapaxes(0, 1).astype(sample.pruned.dtype)
        )
    return _solved(now, sums, centred)


def _results(matrices: Floats, columns: Array) -> Floats:
    """Samples x result rows."""
    found = np.matmul(columns, matrices.swapaxes(1, 2).astype(columns.dtype))
    return np.asarray(found.swapaxes(0, 1).reshape(columns.shape[1], -1))


def _solved(now: Floats, sums: _Sums, centred: bool) -> Solution:
    count = sums.columns.count
    square, cross, mean = sums.columns.products / count, sums.cross / count, sums.columns.means
    residual = sums.residuals / count
    if centred:
        square = sums.columns.covariances
        cross = cross - residual[:, :, None] * mean[:, None, :]
    n = square.shape[1]
    ridge = RIDGE * np.trace(square, axis1=1, axis2=2) / n
    regular = square + np.where(ridge > 0, ridge, 1.0)[:, None, None] * np.eye(n)
    step = np.linalg.solve(regular, cross.swapaxes(1, 2)).swapaxes(1, 2)
    bias = residual - np.einsum("grn,gn->gr", step, mean)
    return Solution(now + step, bias.ravel())
