"""Convolutions and pools: everything that slides a window over spatial axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..graph import Operator
from ..support.reach import reached
from .rule import Array, Rule, finished, lowest, widened


def spatial(indices: Iterable[slice | int]) -> Any:
    """An index of the last axes."""
    return (..., *indices)


def padded(x: Array, begins: Sequence[int], extents: Sequence[int], fill: Any) -> Array:
    """`x` with `begins` of `fill` before each spatial axis and as much after that the axis has `extents`."""
    ends = [e - b - d for e, b, d in zip(extents, begins, x.shape[2:], strict=True)]
    cut = x[spatial(slice(0, d + min(0, e)) for d, e in zip(x.shape[2:], ends, strict=True))]
    pads = [(0, 0), (0, 0), *[(b, max(0, e)) for b, e in zip(begins, ends, strict=True)]]
    return np.pad(cut, pads, constant_values=fill)


def taps(
    op: Operator, x: Array, kernel: Sequence[int], fill: Any = 0, begins: Sequence[int] | None = None
) -> Iterator[Array]:
    """For each tap of the window, in row-major order, the N x C x output elements that it meets.

    `begins` is the padding in front of each spatial axis where it is not the operator's.
    """
    begins = op["pads"][: len(kernel)] if begins is None else begins
    strides, dilations, out = op["strides"], op["dilations"], op.result.type.shape[2:]
    reach = [
        (o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out, strides, kernel, dilations, strict=True)
    ]
    source = padded(x, begins, reach, fill)
    for tap in itertools.product(*map(range, kernel)):
        starts = [t * d for t, d in zip(tap, dilations, strict=True)]
        yield source[
            spatial(slice(a, a + (o - 1) * s + 1, s) for a, o, s in zip(starts, out, strides, strict=True))
        ]


COLUMNS_BYTES = 64 << 20
"""Bytes of im2col columns at once: rows of the result are computed in bands no larger."""


def conv_sums(op: Operator, x: Array, w: Array) -> Array:
    """The convolution of x by w, bias and epilogue apart, in their type: N x M x output.

    im2col of a band of result rows, then one matrix product for each image and group.
    """
    groups, shape = op["groups"], op.result.type.shape
    met = math.prod(w.shape[1:])  # inputs that one result is a sum of
    kernel = w.reshape(1, groups, w.shape[0] // groups, met)
    views = list(taps(op, x, w.shape[2:]))
    result = np.empty(shape, x.dtype)
    row = max(1, sum(view[:, :, :1].nbytes for view in views))
    for rows in _bands(shape[2], max(1, COLUMNS_BYTES // row)):
        columns = np.stack([view[:, :, rows] for view in views], axis=2)
        band = result[:, :, rows]
        columns = columns.reshape(x.shape[0], groups, met, math.prod(band.shape[2:]))
        result[:, :, rows] = np.matmul(kernel, columns).reshape(band.shape)
    return result


def _bands(rows: int, most: int) -> Iterator[slice]:
    return (slice(first, min(first + most, rows)) for first in range(0, rows, most))


def conv(op: Operator, arrays: Sequence[Array]) -> Array:
    x, w, *extras = reached(arrays, op["reach"], op.result.type.shape[1])
    return finished(op, conv_sums(op, widened(x), widened(w)), x.dtype, extras)


def conv_transpose(op: Operator, arrays: Sequence[Array]) -> Array:
    x, w, *extras = arrays
    return finished(op, transposed_sums(op, widened(x), widened(w), op["groups"]), x.dtype, extras)


def transposed_sums(op: Operator, x: Array, w: Array, groups: int) -> Array:
    """The transposed convolution of x by w, bias and epilogue apart, in their type.

    Each tap's product is added where the tap lies; then the padding is cut off.
    """
    pads, extents = op["pads"], x.shape[2:]
    n = len(extents)
    full = [o + a + b for o, a, b in zip(op.result.type.shape[2:], pads[:n], pads[n:], strict=True)]
    result = np.zeros((x.shape[0], groups, w.shape[1], *full), x.dtype)
    pixels = x.reshape(x.shape[0], groups, x.shape[1] // groups, math.prod(extents))
    kernels = w.reshape(groups, w.shape[0] // groups, w.shape[1], *w.shape[2:])
    for tap in itertools.product(*map(range, w.shape[2:])):
        product = np.matmul(kernels[spatial(tap)].swapaxes(1, 2), pixels)
        result[_met(op, tap, extents)] += product.reshape(*result.shape[:3], *extents)
    kept = spatial(slice(a, e - b) for a, b, e in zip(pads[:n], pads[n:], full, strict=True))
    found: Array = result[kept].reshape(op.result.type.shape)
    return found


def _met(op: Operator, tap: Sequence[int], extents: Sequence[int]) -> Any:
    """Index of the result elements that `tap` reaches from the inputs."""
    starts = [t * d for t, d in zip(tap, op["dilations"], strict=True)]
    return spatial(
        slice(a, a + (i - 1) * s + 1, s) for a, i, s in zip(starts, extents, op["strides"], strict=True)
    )


def max_pool(op: Operator, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    return reduce(np.maximum, taps(op, x, op["kernel"], lowest(x.dtype)))


def average_pool(op: Operator, arrays: Sequence[Array]) -> Array:
    """A position past the padding (which `ceil_mode` can reach) never counts."""
    (x,) = arrays
    kernel, pads = op["kernel"], op["pads"]
    n = len(kernel)
    edges = [(0, 0), (0, 0), *zip(pads[:n], pads[n:], strict=True)]
    counted = np.pad(
        np.ones((1, 1, *x.shape[2:]), np.float32), edges, constant_values=float(op["count_include_pad"])
    )
    total = reduce(np.add, taps(op, widened(x), kernel))
    count = reduce(np.add, taps(op, counted, kernel, begins=[0] * n))
    return np.divide(total, count).astype(x.dtype)


RULES: dict[str, Rule] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "average_pool": average_pool,
}
