"""Operators that move data without computing; and constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ModelError
from ..graph import Operator
from .rule import Array, Rule


def constant(op: Operator, _: Sequence[Array]) -> Array:
    value: Array = op["value"]
    return value


def reshape(op: Operator, arrays: Sequence[Array]) -> Array:
    return arrays[0].reshape(op["shape"])


def transpose(op: Operator, arrays: Sequence[Array]) -> Array:
    return np.transpose(arrays[0], op["perm"])


def expand(op: Operator, arrays: Sequence[Array]) -> Array:
    return np.broadcast_to(arrays[0], op["shape"])


def tile(op: Operator, arrays: Sequence[Array]) -> Array:
    return np.tile(arrays[0], op["repeats"])


def concat(op: Operator, arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays, axis=op["axis"])


def slice_(op: Operator, arrays: Sequence[Array]) -> Array:
    x = arrays[0]
    for axis, (start, size, step) in enumerate(zip(op["starts"], op["sizes"], op["steps"], strict=True)):
        x = np.take(x, start + step * np.arange(size), axis=axis)
    return x


def gather(op: Operator, arrays: Sequence[Array]) -> Array:
    """ModelError where an index is out of range."""
    x, indices = arrays
    extent = x.shape[op["axis"]]
    if indices.size and not (-extent <= indices.min() and indices.max() < extent):
        raise ModelError(f"{op!r}: an index is outside axis {op['axis']} of extent {extent}")
    return np.asarray(np.take(x, indices, axis=op["axis"]))


def pad(op: Operator, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    n, pads = x.ndim, op["pads"]
    begins, ends = pads[:n], pads[n:]
    cut = tuple(slice(max(0, -b), d + min(0, e)) for b, e, d in zip(begins, ends, x.shape, strict=True))
    widths = [(max(0, b), max(0, e)) for b, e in zip(begins, ends, strict=True)]
    if op["mode"] != "constant":
        return np.pad(x[cut], widths, mode=op["mode"])
    return np.pad(x[cut], widths, constant_values=np.asarray(op["value"]).astype(x.dtype))


def depth_to_space(op: Operator, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    b, (n, c, h, w) = op["block"], x.shape
    if op["mode"] == "DCR":
        blocks = x.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, c // (b * b), h * b, w * b)


def space_to_depth(op: Operator, arrays: Sequence[Array]) -> Array:
    (x,) = arrays
    b, (n, c, h, w) = op["block"], x.shape
    order = (0, 3, 5, 1, 2, 4) if op["mode"] == "DCR" else (0, 1, 3, 5, 2, 4)
    blocks = x.reshape(n, c, h // b, b, w // b, b).transpose(order)
    return blocks.reshape(n, c * b * b, h // b, w // b)


def relayout(_: Operator, arrays: Sequence[Array]) -> Array:
    return arrays[0]


RULES: dict[str, Rule] = {
    "constant": constant,
    "reshape": reshape,
    "transpose": transpose,
    "expand": expand,
    "tile": tile,
    "concat": concat,
    "slice": slice_,
    "gather": gather,
    "pad": pad,
    "depth_to_space": depth_to_space,
    "space_to_depth": space_to_depth,
    "relayout": relayout,
}
