"""The kernels of stride 1 that a kernel with strides is the sum of: one for each phase."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...specs import layout_block
from .plan import Shape

Array = NDArray[Any]


def phased(weights: Array, shape: Shape[Any]) -> Array:
    """(M, C, rows, columns) as the kernels of all phases, channels in the order of `shape.channels`.

    A phase's channels lie side by side, but of a row-major image a channel's phases do.
    """
    (down, across), (rows, columns) = shape.spec.strides, shape.taps
    filters, channels, high, broad = weights.shape
    row_major = layout_block(shape.spec.in_layout) == 1
    padding = (down * rows - high, across * columns - broad)
    each = channels if row_major or shape.phases == 1 else shape.channels // shape.phases
    padded = np.pad(weights, [(0, 0), (0, each - channels), (0, padding[0]), (0, padding[1])])
    split = padded.reshape(filters, each, rows, down, columns, across)
    order = (0, 1, 3, 5, 2, 4) if row_major else (0, 3, 5, 1, 2, 4)
    return split.transpose(order).reshape(filters, -1, rows, columns)
