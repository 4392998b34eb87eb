"""Weights by least squares: from inputs as they are in the pruned network to results as they were.

The law. For a layer with columns x' in the pruned network, weights W (the original ones that are left), and
t what its results were before (with what the sum behind it has lost so far, see `compensation.py`), over the
sampled windows

    W' = W + D (C + ridge I)^-1        C = cov(x', x')    D = cov(t - W x', x')

and the bias gains the mean of t - W' x'. The ridge pulls towards W and not towards zero: directions that the
data does not show stay as they were trained. How much of it is told by the data: of `RIDGES`, shares of the
mean of C's diagonal, that before the one with which each half of the batches predicts the other best. Where
there are fewer windows than columns it is a large one, and their noise is not learned.

Covariances are summed over batches: memory is 16 bytes times (columns + rows) times columns for each
group of the layer, twice (k k Cin)^2 and a little for a convolution, however much data there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator

from ..linear.matrices import Array, Floats, Indices, matrices, row_channels
from ..linear.moments import Moments

RIDGES = (*(0.01 * 4.0**k for k in range(-5, 6)), math.inf)
"""Each four times the one before: all of the data wants less than half of it, so one step less is taken."""
FIRST = 5
"""The ridge that is tried first; from there on as long as it gets better."""


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
    """Moments of columns, sums of residuals (groups x rows), and of their products with columns."""

    columns: Moments
    residuals: Floats
    cross: Floats

    @classmethod
    def nothing(cls, groups: int, rows: int, columns: int) -> _Sums:
        shape = groups, rows, columns
        return cls(Moments.nothing(groups, columns), np.zeros((groups, rows)), np.zeros(shape))

    def add(self, columns: Array, residuals: Array) -> None:
        self.columns.add(columns)
        self.residuals += residuals.sum(axis=1, dtype=np.float64)
        self.cross += np.matmul(residuals.swapaxes(1, 2), columns)

    def __add__(self, other: _Sums) -> _Sums:
        a, b = self.columns, other.columns
        columns = Moments(a.count + b.count, a.sums + b.sums, a.products + b.products)
        return _Sums(columns, self.residuals + other.residuals, self.cross + other.cross)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Covariances of columns, of residuals with columns, and means; all about zero where not centred."""

    square: Floats
    cross: Floats
    mean: Floats
    residual: Floats

    @classmethod
    def of(cls, sums: _Sums, centred: bool) -> _Problem:
        count, mean = sums.columns.count, sums.columns.means
        residual, cross = sums.residuals / count, sums.cross / count
        if not centred:
            nothing = np.zeros_like(mean), np.zeros_like(residual)
            return cls(sums.columns.products / count, cross, *nothing)
        return cls(sums.columns.covariances, cross - residual[:, :, None] * mean[:, None], mean, residual)

    def step(self, ridge: float) -> Floats:
        """What the weights gain."""
        if math.isinf(ridge):
            return np.zeros_like(self.cross)
        n = self.square.shape[1]
        more = ridge * np.trace(self.square, axis1=1, axis2=2) / n
        regular = self.square + np.where(more > 0, more, 1.0)[:, None, None] * np.eye(n)
        solved = np.linalg.solve(regular, self.cross.swapaxes(1, 2)).swapaxes(1, 2)
        return np.asarray(solved, np.float64)

    def bias(self, step: Floats) -> Floats:
        return np.asarray(self.residual - np.einsum("grn,gn->gr", step, self.mean))

    def error(self, step: Floats, bias: Floats) -> float:
        """The mean square of what is left, but for what no step changes."""
        explained = np.sum(step * (2 * self.cross - np.matmul(step, self.square)))
        return float(np.sum(np.square(self.bias(step) - bias)) - explained)


def solve(
    original: Operator, pruned: Operator, kept: Indices, samples: Iterable[Sample], centred: bool
) -> Solution:
    """New matrices for `pruned`, whose result channels are those of `original` at `kept`.

    Without `centred` the layer has no bias to move, and sums are matched instead of deviations from means.
    """
    before, now = matrices(original), matrices(pruned)
    groups, rows, _ = now.shape
    rows_kept = np.flatnonzero(np.isin(row_channels(original).ravel(), kept))
    halves = _Sums.nothing(*now.shape), _Sums.nothing(*now.shape)
    for number, sample in enumerate(samples):
        with np.errstate(all="ignore"):  # what is not finite is refused below
            error = _results(before, sample.original)[:, rows_kept] - _results(now, sample.pruned)
            error = error if sample.more is None else error + sample.more
            of_groups = error.reshape(len(error), groups, rows).swapaxes(0, 1)
            halves[number % 2].add(sample.pruned, of_groups.astype(sample.pruned.dtype))
    sums = halves[0] + halves[1]
    if not (np.isfinite(sums.columns.products).all() and np.isfinite(sums.cross).all()):
        raise SecateurError(f"{original!r}: what it computes is not finite on calibration data")
    whole = _Problem.of(sums, centred)
    step = whole.step(_ridge(halves, centred))
    return Solution(now + step, whole.bias(step).ravel())


def _results(matrices: Floats, columns: Array) -> Floats:
    """Samples x result rows."""
    found = np.matmul(columns, matrices.swapaxes(1, 2).astype(columns.dtype))
    return np.asarray(found.swapaxes(0, 1).reshape(columns.shape[1], -1))


def _ridge(halves: tuple[_Sums, _Sums], centred: bool) -> float:
    """The ridge before that with which each half predicts the other best; inf where there is one batch."""
    if not all(half.columns.count for half in halves):
        return math.inf
    first, second = (_Problem.of(half, centred) for half in halves)

    @cache
    def error(at: int) -> float:
        if not 0 <= at < len(RIDGES):
            return math.inf
        return _unforeseen(first, second, RIDGES[at]) + _unforeseen(second, first, RIDGES[at])

    best, way = FIRST, 1 if error(FIRST + 1) < error(FIRST) else -1
    while error(best + way) < error(best):
        best += way
    return RIDGES[max(0, best - 1)]


def _unforeseen(seen: _Problem, unseen: _Problem, ridge: float) -> float:
    step = seen.step(ridge)
    return unseen.error(step, seen.bias(step))
