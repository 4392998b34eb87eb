"""Sampling by a grid of coordinates: for each axis a few positions with weights (ONNX GridSample-22).

Cubic taps behind a border are those of PyTorch and ONNX Runtime: the coordinate stays outside, each tap is
brought inside. The ONNX reference brings the coordinate inside first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from ..graph import Operator
from ..ops.movement import GRID_CUBIC as CUBIC
from .rule import Array, Rule


def _limits(op: Operator, size: int) -> tuple[float, float]:
    """What -1 and 1 stand for: the outer pixels' centres, or their outer edges."""
    return (0.0, size - 1.0) if op["align_corners"] else (-0.5, size - 0.5)


def _reflected(x: Array, low: float, high: float) -> Array:
    """Thrown back by both limits until between them."""
    if high == low:
        return np.full_like(x, low)
    place = np.mod(x - low, 2 * (high - low))
    return low + np.minimum(place, 2 * (high - low) - place)


def _padded(op: Operator, x: Array, size: int) -> Array:
    """Coordinates or indices brought inside, where the padding says how."""
    if op["padding"] == "border":
        return np.clip(x, 0, size - 1)
    return _reflected(x, *_limits(op, size)) if op["padding"] == "reflection" else x


def _coordinates(op: Operator, grid: Array, size: int) -> Array:
    low, high = _limits(op, size)
    x = low + (grid + 1) / 2 * (high - low)
    if (op["mode"], op["padding"]) != ("cubic", "border"):  # of which each tap is brought inside by itself
        x = _padded(op, np.rint(x) if op["mode"] == "nearest" else x, size)
    return np.where(np.isnan(x), -4.0, np.clip(x, -4, size + 4))


def _weights(mode: str, t: Array) -> list[Array]:
    """Of the taps around a place `t` past the middle one (of two: the first)."""
    if mode == "nearest":
        return [np.ones_like(t)]
    if mode == "linear":
        return [1 - t, t]
    near = [((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1 for d in (t, 1 - t)]
    far = [((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC for d in (1 + t, 2 - t)]
    return [far[0], *near, far[1]]


def _taps(op: Operator, grid: Array, size: int) -> list[tuple[Array, Array]]:
    """Indices and weights along an axis; outside the image the weight is 0."""
    x = _coordinates(op, grid, size)
    first = np.floor(x)
    found = []
    for number, weight in enumerate(_weights(op["mode"], x - first)):
        index = first + number - (op["mode"] == "cubic")
        inside = _padded(op, index, size)
        valid = (inside > -1) & (inside < size)
        found.append((np.clip(np.rint(inside), 0, size - 1).astype(np.int64), np.where(valid, weight, 0)))
    return found


def grid_sample(op: Operator, arrays: Sequence[Array]) -> Array:
    """Coordinates are last axis first; a tap of weight 0 adds nothing, whatever it reads."""
    x, grid = arrays[0].astype(np.float64), arrays[1].astype(np.float64)
    sizes, result = x.shape[2:], np.zeros(op.result.type.shape)
    axes = [_taps(op, grid[..., -1 - i], size) for i, size in enumerate(sizes)]
    for n in range(len(x)):
        for taps in product(*axes):
            weight = np.prod([w[n] for _, w in taps], axis=0)
            read = x[n][(slice(None), *(i[n] for i, _ in taps))]
            result[n] += np.where(weight == 0, 0, read * weight)
    return result.astype(arrays[0].dtype)


RULES: dict[str, Rule] = {"grid_sample": grid_sample}
