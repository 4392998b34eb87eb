"""Linear operators as matrices: a result is filters times columns of the input.

Every operator of `LINEAR` with constant weights is G matrices of rows x columns,
one for each of its groups (a matrix product has one):

* a convolution's rows are its filters, its columns the inputs under one window,
  channel by channel, tap by tap;
* a matrix product's rows are its result columns, its columns the elements of a row;
* a transposed convolution's columns are the channels of one pixel, its rows are what
  each filter's taps make of it, filter by filter. Results where taps overlap are sums of rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator, constant_of

from ...fuse.affine import LINEAR, channel_axis, input_axis

Array = NDArray[Any]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def is_linear(op: Operator) -> bool:
    """Whether `op` is of `LINEAR` with constant float weights, for a matrix product a matrix on the right."""
    if op.name not in LINEAR:
        return False
    weights = constant_of(op.operands[1])
    if weights is None or weights.dtype.kind != "f":
        return False
    return op.name != "nn.matmul" or (weights.ndim == 2 and op.operands[0].type.rank >= 2)


def is_depthwise(op: Operator) -> bool:
    """Whether each result channel is made of one input channel, so that it carries channels on."""
    return op.name != "nn.matmul" and 1 < op["groups"] == op.operands[0].type.shape[1]


def groups_of(op: Operator) -> int:
    return 1 if op.name == "nn.matmul" else int(op["groups"])


def weights_of(op: Operator) -> Array:
    weights = constant_of(op.operands[1])
    assert weights is not None, "is_linear was asked"
    return weights


def matrices(op: Operator, array: Array | None = None) -> Floats:
    """The weights, or an array shaped like them, as groups x rows x columns."""
    weights, g = (weights_of(op) if array is None else array).astype(np.float64), groups_of(op)
    if op.name == "nn.matmul":
        return weights.T[None]
    if op.name == "nn.conv":
        return weights.reshape(g, weights.shape[0] // g, -1)
    return weights.reshape(g, weights.shape[0] // g, -1).swapaxes(1, 2)


def restored(op: Operator, matrices: Floats) -> Array:
    """Weights, shaped and typed as the operator's, whose matrices are these."""
    old = weights_of(op)
    if op.name == "nn.matmul":
        found = matrices[0].T
    else:
        found = (matrices if op.name == "nn.conv" else matrices.swapaxes(1, 2)).reshape(old.shape)
    return np.ascontiguousarray(found, old.dtype)


def taps_of(op: Operator) -> int:
    """How many taps the kernel has; 1 for a matrix product."""
    return 1 if op.name == "nn.matmul" else math.prod(op.operands[1].type.shape[2:])


def column_channels(op: Operator) -> Indices:
    """The input channel that each column of each matrix belongs to: groups x columns."""
    channels = np.arange(op.operands[0].type.shape[input_axis(op)], dtype=np.intp)
    taps = taps_of(op) if op.name == "nn.conv" else 1
    return np.repeat(channels, taps).reshape(groups_of(op), -1)


def row_channels(op: Operator) -> Indices:
    """The result channel that each row of each matrix belongs to: groups x rows."""
    channels = np.arange(op.result.type.shape[channel_axis(op)], dtype=np.intp)
    taps = taps_of(op) if op.name == "nn.conv_transpose" else 1
    return np.repeat(channels, taps).reshape(groups_of(op), -1)


def overlaps(op: Operator) -> bool:
    """Whether results are sums of rows: a transposed convolution's whose kernel outreaches its stride."""
    if op.name != "nn.conv_transpose":
        return False
    kernel = op.operands[1].type.shape[2:]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, op["dilations"], strict=True)]
    return any(r > s for r, s in zip(reach, op["strides"], strict=True))
