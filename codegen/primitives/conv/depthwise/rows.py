"""Tables of 8-bit depthwise kernels that multiply several kernel rows at once.

Rows outside the image have weights of zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secateur.codegen.vector.dot import QUAD
from secateur.codegen.vector.requantize import BLOCK
from secateur.ir.graph import Operator

from ....rounding import up
from ...operator import Array, constant_of
from ..int8_spec import LinearSpec
from ..linear_operators import linear_spec


def row_sets(spec: LinearSpec) -> list[tuple[int, ...]]:
    """For each output row, the kernel rows inside the image."""
    sets = []
    for row in range(spec.out_height):
        first = row * spec.strides[0] - spec.pads[0]
        places = (first + kh * spec.dilations[0] for kh in range(spec.kernel[0]))
        sets.append(tuple(kh for kh, place in enumerate(places) if 0 <= place < spec.height))
    return sets


def packed_rows(op: Operator, zero_point: int) -> tuple[Array, Array, Array]:
    """Number of each output row's set; weights and starts for each set, by blocks of channels.

    The zero point is that of the bytes as they are multiplied.
    """
    spec = linear_spec(op)
    weights, bias = (constant_of(v) for v in op.operands[1:3])
    assert weights is not None, "applicable() was not asked"
    assert bias is not None, "applicable() was not asked"
    of_rows = row_sets(spec)
    sets = sorted(set(of_rows))
    numbers = np.array([sets.index(s) for s in of_rows], np.int32)
    masked = [_of_rows(weights[:, 0].astype(np.int64), rows) for rows in sets]
    starts = np.stack([_padded(bias - zero_point * w.sum((1, 2))) for w in masked]).astype(np.int32)
    return numbers, _in_quads(masked), starts


def _of_rows(weights: Array, rows: Sequence[int]) -> Array:
    """Weights (channels, kh, kw), other rows zeroed."""
    kept = np.zeros_like(weights)
    kept[:, list(rows)] = weights[:, list(rows)]
    return kept


def _padded(values: Array) -> Array:
    """Along the first axis, to whole blocks."""
    padded = np.zeros((up(len(values), BLOCK), *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded


def _in_quads(sets: Sequence[Array]) -> Array:
    """i8 of shape (sets, blocks, kw, quads of rows, 16 channels, 4 rows) from (channels, kh, kw) each."""
    padded = np.stack([_padded(w) for w in sets])
    count, channels, kh, kw = padded.shape
    rows = np.zeros((count, channels, up(kh, QUAD), kw), np.int8)
    rows[:, :, :kh] = padded
    split = rows.reshape(count, channels // BLOCK, BLOCK, -1, QUAD, kw)
    return np.ascontiguousarray(split.transpose(0, 1, 5, 3, 2, 4))
