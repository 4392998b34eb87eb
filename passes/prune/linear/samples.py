"""Columns of a linear operator's input: those under a sample of its windows, not all of them.

Neighbouring windows of an image see nearly the same, so that a few dozen of
each image say what all of them would, at a fraction of the work.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.reference.windows import taps

from .matrices import Array, Indices, groups_of

Windows = tuple[Indices, ...]
"""An array of indices for each axis that windows lie over."""

POSITIONS = 64
"""Windows of each image that are looked at; all of them where there are no more."""


def window_extents(op: Operator) -> tuple[int, ...]:
    """Over what windows lie: a convolution's result, a transposed one's input, the inner axes of a matrix."""
    if op.name == "nn.conv":
        return op.result.type.shape[2:]
    return op.operands[0].type.shape[2:] if op.name == "nn.conv_transpose" else _inner(op)


def _inner(op: Operator) -> tuple[int, ...]:
    return op.operands[0].type.shape[1:-1]


def positions(op: Operator, seed: int) -> Windows:
    """At most `POSITIONS` windows, indices along each axis that they lie over; same seed, same windows."""
    extents = window_extents(op)
    total = math.prod(extents)
    chosen = np.arange(total)
    if total > POSITIONS:
        chosen = np.sort(np.random.default_rng(seed).choice(total, POSITIONS, replace=False))
    return np.unravel_index(chosen, extents) if extents else ()


def columns(op: Operator, x: Array, where: Windows) -> Array:
    """What `op`'s matrices are multiplied by at windows `where` of all images: groups x samples x columns."""
    if op.name == "nn.matmul":
        return _rows(x, where)[None]
    seen = _under(op, x, where) if op.name == "nn.conv" else _picked(x, where)[:, :, None]
    images, channels, kernel, windows = seen.shape
    g = groups_of(op)
    split = seen.reshape(images, g, channels // g * kernel, windows)
    return np.ascontiguousarray(split.transpose(1, 0, 3, 2)).reshape(g, images * windows, -1)


def _rows(x: Array, where: Windows) -> Array:
    index: Any = (slice(None), *where)
    return np.asarray(x[index]).reshape(-1, x.shape[-1])


def _picked(x: Array, where: Windows) -> Array:
    """Images x channels x windows."""
    index: Any = (slice(None), slice(None), *where)
    return np.asarray(x[index])


def _under(op: Operator, x: Array, where: Windows) -> Array:
    """Images x channels x taps x windows."""
    kernel = op.operands[1].type.shape[2:]
    return np.stack([_picked(view, where) for view in taps(op, x, kernel)], axis=2)


def at(x: Array, where: Windows) -> Array:
    """A convolution's result (or what is added to it) at its windows: samples x channels."""
    return np.moveaxis(_picked(x, where), 1, -1).reshape(-1, x.shape[1])
