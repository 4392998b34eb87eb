"""Fourier transforms, as products by known matrices: DFT of an axis, STFT of frames of a signal."""

from __future__ import annotations

import numpy as np

from ..graph import Value, constant_of
from ..ops.rules import normalize_axis
from ..types import extents
from .movement import cut
from .node import Handler, Node, NodeError, UnsupportedError
from .tensors import Array

MAX_MATRIX_ELEMENTS = 1 << 24
"""Longer transforms would need the fast one."""


def _matrix(length: int, parts: int, bins: int, inverse: bool, window: Array | None = None) -> Array:
    """length x parts (real, or real and imaginary) x bins x 2: what each sample adds to each bin, float64.

    Angles are reduced as integers, so that they are as exact for the last bin as for the first.
    """
    if length * parts * bins * 2 > MAX_MATRIX_ELEMENTS:
        raise UnsupportedError(f"of {length} samples and {bins} bins, whose matrix is too large")
    turns = np.outer(np.arange(length), np.arange(bins)) % length
    angle = (2 if inverse else -2) * np.pi / length * turns
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    if window is not None:
        rows = rows * window.reshape(length, 1, 1)
    turned = np.stack([-rows[..., 1], rows[..., 0]], axis=-1)  # of i times the sample
    found = np.stack([rows, turned][:parts], axis=1)
    return found / length if inverse else found


def _real_matrix(bins: int, length: int) -> Array:
    """bins x 2 x length: what each bin of one side of a real signal's transform adds to each sample."""
    full = _matrix(length, 2, length, True)[:bins, :, :, :1]  # of as many bins, the real part
    mirrored = (np.arange(bins) > 0) & (2 * np.arange(bins) != length)
    found: Array = full * np.where(mirrored, 2, 1).reshape(bins, 1, 1, 1)
    return found


def _length(node: Node, index: int, default: int) -> int:
    if node.optional(index) is None:
        return default
    (length,) = node.known_ints(index, "the length") or (0,)
    if length < 1:
        raise NodeError(f"a transform of {length} samples")
    return length


def dft(node: Node) -> Value:
    x, rank = node.input(0), node.input(0).type.rank
    if rank < 2 or x.type.shape[-1] not in (1, 2):
        raise NodeError(f"input {extents(x.type.shape)} has no last axis of 1 or 2 parts")
    given = node.integer("axis", 1) if node.opset < 20 else _axis(node)
    axis, parts = normalize_axis(given, rank), x.type.shape[-1]
    if axis == rank - 1:
        raise NodeError("the last axis holds parts of numbers, not samples")
    matrix = _transform(node, x.type.shape[axis], parts)
    taken, _, made, kind = matrix.shape
    order = [i for i in range(rank - 1) if i != axis]
    moved = node.emit("transpose", [_of_length(node, x, axis, taken)], perm=(*order, axis, rank - 1))
    outer = tuple(x.type.shape[i] for i in order)
    flat = node.emit("reshape", [moved], shape=(*outer, taken * parts))
    weights = node.constant(matrix.reshape(taken * parts, made * kind).astype(x.type.dtype.numpy))
    found = node.emit("reshape", [node.emit("matmul", [flat, weights])], shape=(*outer, made, kind))
    places = [*order, axis]
    return node.emit("transpose", [found], perm=(*(places.index(i) for i in range(rank - 1)), rank - 1))


def _transform(node: Node, extent: int, parts: int) -> Array:
    """What each number taken along the axis, of so many parts, adds to each one made."""
    inverse, onesided = node.flag("inverse"), node.flag("onesided")
    if onesided and inverse != (parts == 2):
        raise UnsupportedError("one side of what is not the transform of real samples")
    if onesided and inverse:
        length = _length(node, 1, max(1, 2 * (extent - 1)))
        return _real_matrix(length // 2 + 1, length)
    length = _length(node, 1, extent)
    return _matrix(length, parts, length // 2 + 1 if onesided else length, inverse)


def _axis(node: Node) -> int:
    return -2 if node.optional(2) is None else node.known_ints(2, "axis")[0]


def _of_length(node: Node, x: Value, axis: int, length: int) -> Value:
    """The first samples, or all with zeros behind."""
    extent = x.type.shape[axis]
    if length <= extent:
        return x if length == extent else cut(node, x, axis, 0, length)
    ends = tuple(length - extent if i == axis else 0 for i in range(x.type.rank))
    return node.emit("pad", [x], pads=(*[0] * x.type.rank, *ends))


def stft(node: Node) -> Value:
    """A convolution: each bin is a filter as long as a frame."""
    x = node.input(0)
    shape = x.type.shape if x.type.rank == 3 else (*x.type.shape, 1)
    if x.type.rank not in (2, 3) or shape[2] not in (1, 2):
        raise NodeError(f"signal {extents(x.type.shape)} is not batch x samples x 1 or 2 parts")
    window = _window(node)
    length = _length(node, 3, shape[1] if window is None else window.size)
    (step,) = node.known_ints(1, "the frame step") or (0,)
    onesided = node.flag("onesided", True)
    if step < 1 or (window is not None and window.shape != (length,)):
        raise NodeError(f"a frame step of {step}, a window that does not have {length} elements")
    if onesided and shape[2] == 2:
        raise UnsupportedError("one side of what is not the transform of real samples")
    bins = length // 2 + 1 if onesided else length
    matrix = _matrix(length, shape[2], bins, False, window).astype(x.type.dtype.numpy)
    filters = node.constant(matrix.reshape(length, shape[2], bins * 2).transpose(2, 1, 0))
    signal = node.emit("transpose", [node.emit("reshape", [x], shape=shape)], perm=(0, 2, 1))
    found = node.emit("conv", [signal, filters], strides=(step,), pads=(0, 0), dilations=(1,), groups=1)
    frames = node.emit("transpose", [found], perm=(0, 2, 1))
    return node.emit("reshape", [frames], shape=(*frames.type.shape[:2], bins, 2))


def _window(node: Node) -> Array | None:
    value = node.optional(2)
    if value is None:
        return None
    known = constant_of(value)
    if known is None:
        raise UnsupportedError("with a window that is computed")
    return known.astype(np.float64)


HANDLERS: dict[str, Handler] = {"DFT": dft, "STFT": stft}
