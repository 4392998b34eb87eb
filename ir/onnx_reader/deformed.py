"""DeformConv: convolutions whose taps are between pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Value
from ..ops.rules import window_extent
from ..types import extents
from .node import Handler, Node, NodeError
from .tensors import Array
from .windows import channel_bias, kernel_of, window


def deform_conv(node: Node) -> Value:
    """A convolution whose taps are anywhere: what each meets, by GridSample, is an image below the others.

    conv(grid_sample(x, places + offsets) mask, w) with a kernel of taps x 1 that reaches from image to image,
    and offsets for each of G groups of channels.
    Inputs: x, w, offsets (N x (G taps 2) x P x Q), bias, mask (N x (G taps) x P x Q).
    """
    x, w, bias = node.input(0), node.input(1), node.optional(3)
    batch, channels, *image = x.type.shape
    kernel, count = kernel_of(node, w), node.integer("offset_group", 1)
    how = window(node, x, kernel)
    offsets = node.input(2)
    if len(image) != 2 or count < 1 or channels % count:
        raise NodeError(f"input {extents(x.type.shape)} is not for {count} groups of offsets")
    out, taps = _pixels(image, kernel, how), math.prod(kernel)
    if offsets.type.shape[2:] != out:
        at = f"offsets {extents(offsets.type.shape)} are for {extents(offsets.type.shape[2:])} pixels"
        raise NodeError(f"{at}, the result has {extents(out)}")
    grid = _deformed(node, offsets, _taps(out, kernel, how), image, (batch * count, taps, *out))
    parts = node.emit("reshape", [x], shape=(batch * count, channels // count, *image))
    met = node.emit("grid_sample", [parts, grid], mode="linear", padding="zeros", align_corners=False)
    if node.optional(4) is not None:
        shape = (batch * count, 1, taps * out[0], out[1])
        met = node.emit("mul", [met, node.emit("reshape", [node.input(4)], shape=shape)])
    rows = node.emit("reshape", [met], shape=(batch, channels, taps * out[0], out[1]))
    column = node.emit("reshape", [w], shape=(*w.type.shape[:2], taps, 1))
    plain = {
        "strides": (1, 1),
        "dilations": (out[0], 1),
        "pads": (0,) * 4,
        "groups": node.integer("group", 1),
    }
    return node.biased("conv", [rows, column], channel_bias(node, bias, 4) if bias else None, plain)


def _pixels(image: Sequence[int], kernel: Sequence[int], how: Mapping[str, Any]) -> tuple[int, ...]:
    """The extents of the result."""
    pads = [begin + end for begin, end in zip(how["pads"][:2], how["pads"][2:], strict=True)]
    per_axis = zip(image, kernel, how["strides"], pads, how["dilations"], strict=True)
    return tuple(window_extent(*axis) for axis in per_axis)


def _taps(out: Sequence[int], kernel: Sequence[int], how: Mapping[str, Any]) -> list[NDArray[np.float64]]:
    """Rows and columns, each (taps, out), of what each tap meets without offsets."""
    taps = np.indices(tuple(kernel)).reshape(2, -1, 1, 1)
    begins = np.indices(tuple(out))[:, None]
    per_axis = zip(taps, begins, how["dilations"], how["strides"], how["pads"], strict=False)
    return [(t * d + b * s - p).astype(np.float64) for t, b, d, s, p in per_axis]


def _deformed(
    node: Node, offsets: Value, base: Sequence[Array], image: Sequence[int], sizes: tuple[int, ...]
) -> Value:
    """`base` plus offsets as a grid, x first: -1 and 1 are the outer edges of the image."""
    many, taps, *out = sizes
    if offsets.type.elements != 2 * math.prod(sizes):
        raise NodeError(f"offsets {extents(offsets.type.shape)} are not two for each of {extents(sizes)}")
    pairs = node.emit("reshape", [offsets], shape=(many, taps, 2, *out))
    found = []
    for axis in (1, 0):
        starts, shape = (0, 0, axis, 0, 0), (many, taps, 1, *out)
        one = node.emit("slice", [pairs], starts=starts, sizes=shape, steps=(1,) * 5)
        flat = node.emit("reshape", [one], shape=(many, taps * out[0], out[1], 1))
        dtype = offsets.type.dtype.numpy
        start = ((2 * base[axis] + 1) / image[axis] - 1).reshape(1, taps * out[0], out[1], 1)
        scaled = node.emit("mul", [flat, node.constant(np.array(2 / image[axis], dtype))])
        found.append(node.emit("add", [scaled, node.constant(start.astype(dtype))]))
    return node.emit("concat", found, axis=3)


HANDLERS: dict[str, Handler] = {"DeformConv": deform_conv}
