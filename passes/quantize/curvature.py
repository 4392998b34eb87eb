"""What errors of a linear operator's weights do to its results, seen on calibration data.

An error e of a filter, one number for each of the n inputs that it multiplies, adds noise of the power
e^T H e to every result, with H the inputs' second moments. Filters of a convolution meet n = C kh kw
inputs, those of
a matrix its rows. Many inputs are parted, by channels, so that H stays small; parts count as uncorrelated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator

from ..winograd.rounding import Turns, turns_of

Floats = NDArray[Any]

POSITIONS = 8192
"""Of a layer's results, about, whose inputs are looked at."""
_WIDEST = 1200
"""Inputs of a part at most, unless a channel has more."""
_DAMPING = 0.01
_LEAST = 1e-30


@dataclass(frozen=True)
class Cut:
    """How the weights of an operator of M filters in g groups are parted: g k matrices of (M / g, n / k)."""

    groups: int
    parts: int

    def matrices(self, op: Operator, weights: Floats) -> Floats:
        """The weights, in the operator's shape, as (g k, M / g, n / k)."""
        rows = weights.T if op.name == "nn.matmul" else weights
        cut = rows.reshape(self.groups, len(rows) // self.groups, self.parts, -1)
        return np.ascontiguousarray(cut.swapaxes(1, 2).reshape(-1, cut.shape[1], cut.shape[3]))

    def weights(self, op: Operator, matrices: Floats) -> Floats:
        """The other way round."""
        parted = matrices.reshape(self.groups, self.parts, *matrices.shape[1:]).swapaxes(1, 2)
        shape = op.operands[1].type.shape
        if op.name == "nn.matmul":
            return np.ascontiguousarray(parted.reshape(shape[::-1]).T)
        return parted.reshape(shape)

    def filters(self, each: Floats) -> Floats:
        """A number for each filter (M,) as (g k, M / g)."""
        return np.repeat(each.reshape(self.groups, -1), self.parts, axis=0)


def cut_of(op: Operator) -> Cut:
    """Few parts, of whole channels."""
    if op.name == "nn.matmul":
        return Cut(1, _parts(op.operands[1].type.shape[0], 1))
    shape = op.operands[1].type.shape
    return Cut(op["groups"], _parts(shape[1], prod(shape[2:])))


def _parts(channels: int, taps: int) -> int:
    """The least number of equal parts of the channels that are small enough."""
    fits = (k for k in range(1, channels + 1) if channels % k == 0 and channels // k * taps <= _WIDEST)
    return next(fits, max(channels, 1))


@dataclass(frozen=True)
class Curvature:
    """Of an operator: its cut, in which turns its inputs are rounded, and what an error in each turn weighs.

    `weight` (g k, n / k) is the noise that the square of an error adds, in shares of the results' power,
    where those that come after it make up for what they can.
    """

    cut: Cut
    turns: Turns
    weight: Floats

    @property
    def typical(self) -> float:
        """The geometric mean of the weights."""
        return float(np.exp(np.log(np.maximum(self.weight, _LEAST)).mean()))


class Moments:
    """Gathers second moments of an operator's inputs, and the power of its results, image by image."""

    def __init__(self, op: Operator, images: int) -> None:
        self._op, self._cut = op, cut_of(op)
        self._most = max(1, POSITIONS // max(images, 1))
        self._sums: Floats = np.zeros(0)
        self._seen, self._power, self._results = 0, 0.0, 0
        self._choose = np.random.default_rng(0)

    def add(self, x: Floats, y: Floats) -> None:
        """The operator's input and result."""
        columns = self._columns(x.astype(np.float32))
        product = columns @ np.swapaxes(columns, 1, 2)
        self._sums = product if not self._sums.size else self._sums + product
        self._seen += columns.shape[2]
        self._power += float(np.square(y, dtype=np.float64).sum())
        self._results += self._positions(y)

    def _positions(self, y: Floats) -> int:
        axis = -1 if self._op.name == "nn.matmul" else 1
        return int(y.size) // max(1, int(y.shape[axis]))

    def _columns(self, x: Floats) -> Floats:
        """Inputs of some results: (g k, n / k, results)."""
        rows = x if self._op.name == "nn.matmul" else _windows(self._op, x)
        if len(rows) > self._most:
            rows = rows[self._choose.choice(len(rows), self._most, replace=False)]
        flat = rows.reshape(len(rows), self._cut.groups * self._cut.parts, -1)
        return np.ascontiguousarray(flat.transpose(1, 2, 0))

    def curvature(self) -> Curvature:
        """Damped, the more the fewer results were seen."""
        second = (self._sums / max(self._seen, 1)).astype(np.float64)
        diagonal = np.einsum("ncc->nc", second)
        damping = _DAMPING + 2 * second.shape[1] / max(self._seen, 1)
        ridge = damping * diagonal.mean(1, keepdims=True)
        diagonal += np.maximum(ridge, _LEAST)
        turns = turns_of(second)
        power = max(self._power / max(self._results, 1), _LEAST)
        return Curvature(self._cut, turns, 1 / np.square(np.einsum("ncc->nc", turns.spread)) / power)


def _windows(op: Operator, x: Floats) -> Floats:
    """What each result of a convolution reads: (results, C, taps)."""
    pads: Sequence[int] = op["pads"]
    kernel, axes = op.operands[1].type.shape[2:], tuple(range(2, x.ndim))
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[: len(kernel)], pads[len(kernel) :], strict=True)])
    spans = [d * (k - 1) + 1 for d, k in zip(op["dilations"], kernel, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(x, spans, axes)
    outer = tuple(slice(None, None, step) for step in op["strides"])
    inner = tuple(slice(None, None, step) for step in op["dilations"])
    seen = seen[(slice(None), slice(None), *outer, *inner)]
    moved = np.moveaxis(seen, 1, len(axes) + 1)
    return moved.reshape(-1, x.shape[1], prod(kernel))
