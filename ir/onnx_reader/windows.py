"""Conv, ConvTranspose and the pools: kernels, strides, padding (explicit and `auto_pad`), dilation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..graph import Value
from ..ops.rules import window_extent
from ..types import extents
from .node import Handler, Node, NodeError, UnsupportedError
from .reduce import norm_of

AUTO_PAD = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def _axes(node: Node, x: Value, name: str, n: int) -> tuple[int, ...]:
    found = node.ints(name, (1,) * n)
    if len(found) != n or min(found) < 1:
        raise NodeError(
            f"attribute '{name}' is {found}, input {extents(x.type.shape)} needs {n} positive numbers"
        )
    return found


def same_pads(total: Sequence[int], lower: bool) -> tuple[int, ...]:
    """Begins then ends of `total` padding per axis; the odd one goes in front where `lower`."""
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (*large, *small) if lower else (*small, *large)


def _pads(
    node: Node, x: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, ...]:
    n, mode = len(kernel), node.choice("auto_pad", "NOTSET", AUTO_PAD)
    if mode == "NOTSET":
        return node.ints("pads", (0,) * (2 * n))
    if mode == "VALID":
        return (0,) * (2 * n)
    total = [
        max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        for size, k, s, d in zip(x.type.shape[2:], kernel, strides, dilations, strict=True)
    ]
    return same_pads(total, mode == "SAME_LOWER")


def spatial_rank(x: Value) -> int:
    """Number of axes after batch and channel, at least one."""
    if x.type.rank < 3:
        raise NodeError(f"input {extents(x.type.shape)} has no spatial axes")
    return x.type.rank - 2


def window(node: Node, x: Value, kernel: tuple[int, ...]) -> dict[str, Any]:
    """The attributes strides, dilations and pads of the window `kernel` over `x`."""
    n = spatial_rank(x)
    if len(kernel) != n or min(kernel) < 1:
        raise NodeError(f"kernel {kernel} does not fit input {extents(x.type.shape)}")
    strides, dilations = _axes(node, x, "strides", n), _axes(node, x, "dilations", n)
    return {"strides": strides, "dilations": dilations, "pads": _pads(node, x, kernel, strides, dilations)}


def kernel_of(node: Node, w: Value) -> tuple[int, ...]:
    """The kernel extents of weights `w`, which a `kernel_shape` attribute must agree with."""
    kernel = w.type.shape[2:]
    if node.ints("kernel_shape", kernel) != kernel:
        raise NodeError(
            f"attribute 'kernel_shape' is {node.ints('kernel_shape')}, "
            f"the weights are {extents(w.type.shape)}"
        )
    return kernel


def channel_bias(node: Node, bias: Value, rank: int) -> Value:
    """A bias of C elements as an operand of shape 1 x C x 1..., ready for an epilogue."""
    if bias.type.rank != 1:
        raise NodeError(f"bias of shape {extents(bias.type.shape)} is not one-dimensional")
    return node.emit("reshape", [bias], shape=(1, bias.type.shape[0], *[1] * (rank - 2)))


def conv(node: Node) -> Value:
    x, w, bias = node.input(0), node.input(1), node.optional(2)
    attributes = {**window(node, x, kernel_of(node, w)), "groups": node.integer("group", 1)}
    return node.biased("conv", [x, w], channel_bias(node, bias, x.type.rank) if bias else None, attributes)


def conv_transpose(node: Node) -> Value:
    x, w, bias = node.input(0), node.input(1), node.optional(2)
    n, kernel = spatial_rank(x), kernel_of(node, w)
    if len(kernel) != n:
        raise NodeError(f"weights {extents(w.type.shape)} do not fit input {extents(x.type.shape)}")
    strides, dilations = _axes(node, x, "strides", n), _axes(node, x, "dilations", n)
    more = node.ints("output_padding", (0,) * n)
    if len(more) != n:
        raise NodeError(f"attribute 'output_padding' is {more}, {n} numbers are needed")
    full = [
        (i - 1) * s + (k - 1) * d + 1
        for i, s, k, d in zip(x.type.shape[2:], strides, kernel, dilations, strict=True)
    ]
    pads, more = _transposed_pads(node, full, more, strides)
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "output_padding": more}
    channels = channel_bias(node, bias, x.type.rank) if bias else None
    return node.biased("conv_transpose", [x, w], channels, {**attributes, "groups": node.integer("group", 1)})


def _transposed_pads(
    node: Node, full: Sequence[int], more: tuple[int, ...], strides: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding to cut off and extents to add, from explicit pads, a wanted output shape, or `auto_pad`."""
    n, mode = len(full), node.choice("auto_pad", "NOTSET", AUTO_PAD)
    if node.has("output_shape"):
        wanted = node.ints("output_shape")[-n:]
    elif mode.startswith("SAME"):
        wanted = tuple(i * s for i, s in zip(node.input(0).type.shape[2:], strides, strict=True))
    else:
        return (0,) * (2 * n) if mode == "VALID" else node.ints("pads", (0,) * (2 * n)), more
    if len(wanted) != n:
        raise NodeError(f"attribute 'output_shape' is {wanted}, {n} extents are needed")
    cut = [f + m - w for f, m, w in zip(full, more, wanted, strict=True)]
    lacking = tuple(m + max(0, -c) for m, c in zip(more, cut, strict=True))
    return same_pads([max(0, c) for c in cut], mode != "SAME_UPPER"), lacking


def pool_window(node: Node, x: Value) -> dict[str, Any]:
    kernel = node.ints("kernel_shape")
    return {"kernel": kernel, **window(node, x, kernel), "ceil_mode": node.flag("ceil_mode")}


def max_pool(node: Node) -> list[Value]:
    """The second result has the place of each maximum in the whole tensor."""
    x = node.input(0)
    how = pool_window(node, x)
    largest = node.emit("max_pool", [x], **how)
    if len(node.proto.output) < 2 or not node.proto.output[1]:
        return [largest]
    places = node.emit("max_pool_index", [x], **how)
    if node.flag("storage_order"):
        places = _by_columns(node, places, x.type.shape[2:])
    return [largest, node.emit("add", [places, _planes(node, x.type.shape)])]


def _by_columns(node: Node, places: Value, plane: Sequence[int]) -> Value:
    """Places in a plane counted row by row, counted column by column."""
    if len(plane) != 2:
        raise UnsupportedError(f"indices of {len(plane)} axes in column-major order")
    rows, columns = (node.constant(np.array(d)) for d in plane)
    row, column = node.emit("div", [places, columns]), node.emit("mod", [places, columns])
    return node.emit("add", [node.emit("mul", [column, rows]), row])


def _planes(node: Node, shape: Sequence[int]) -> Value:
    """Of N x C x spatial, the number of the first element of each plane: N x C x 1..., i64."""
    starts = np.arange(shape[0] * shape[1]) * math.prod(shape[2:])
    return node.constant(starts.reshape(*shape[:2], *[1] * (len(shape) - 2)))


def max_unpool(node: Node) -> Value:
    """Zeros, and each element where its index says, which is in its own plane."""
    x, indices = node.input(0), node.input(1)
    if indices.type.shape != x.type.shape:
        raise NodeError(f"indices {extents(indices.type.shape)} are not for {extents(x.type.shape)}")
    shape = _unpooled(node, x)
    within = node.emit("sub", [indices, _planes(node, shape)])
    planes, size = shape[0] * shape[1], math.prod(x.type.shape[2:])
    zero = node.constant(np.zeros((), x.type.dtype.numpy))
    empty = node.emit("expand", [zero], shape=(planes, math.prod(shape[2:])))
    rows = [node.emit("reshape", [value], shape=(planes, size)) for value in (within, x)]
    return node.emit("reshape", [node.emit("scatter", [empty, *rows])], shape=shape)


def _unpooled(node: Node, x: Value) -> tuple[int, ...]:
    """The shape of what was pooled: as given, else the smallest that it can have been."""
    n, kernel = spatial_rank(x), node.ints("kernel_shape")
    if node.optional(2) is not None:
        shape = node.known_ints(2, "the output's shape")
        if len(shape) != n + 2 or shape[:2] != x.type.shape[:2] or min(shape) < 1:
            raise NodeError(f"output {extents(shape)} does not fit input {extents(x.type.shape)}")
        return shape
    strides, pads = _axes(node, x, "strides", n), node.ints("pads", (0,) * (2 * n))
    if len(kernel) != n or len(pads) != 2 * n:
        raise NodeError(f"kernel {kernel} and pads {pads} do not fit input {extents(x.type.shape)}")
    return (
        *x.type.shape[:2],
        *(
            (d - 1) * s + k - before - after
            for d, s, k, before, after in zip(
                x.type.shape[2:], strides, kernel, pads[:n], pads[n:], strict=True
            )
        ),
    )


def lp_pool(node: Node) -> Value:
    """Sums under a window are averages that count all padding, times its taps."""
    x = node.input(0)
    how = pool_window(node, x)
    if how.pop("ceil_mode"):
        how["pads"] = _filled(x, how)
    taps = node.constant(np.array(math.prod(how["kernel"]), x.type.dtype.numpy))

    def total(powers: Value) -> Value:
        return node.emit("mul", [node.emit("average_pool", [powers], **how, count_include_pad=True), taps])

    return norm_of(node, x, total)


def _filled(x: Value, how: Mapping[str, Any]) -> tuple[int, ...]:
    """Padding with which the last window of `ceil_mode` is whole."""
    n, begins, ends = (
        len(how["kernel"]),
        how["pads"][: len(how["kernel"])],
        list(how["pads"][len(how["kernel"]) :]),
    )
    for i, size in enumerate(x.type.shape[2:]):
        kernel, stride, dilation = (how[name][i] for name in ("kernel", "strides", "dilations"))
        out = window_extent(size, kernel, stride, begins[i] + ends[i], dilation, True, begins[i])
        ends[i] = (out - 1) * stride + dilation * (kernel - 1) + 1 - size - begins[i]
    assert len(ends) == n
    return (*begins, *ends)


def col2im(node: Node) -> Value:
    """Columns added where they came from: a transposed convolution that leaves each tap as it is."""
    x, image, block = node.input(0), node.known_ints(1, "the image's shape"), node.known_ints(2, "the block")
    n = len(image)
    strides, dilations = (node.ints(name, (1,) * n) for name in ("strides", "dilations"))
    pads = node.ints("pads", (0,) * (2 * n))
    if x.type.rank != 3 or not len(block) == len(strides) == len(dilations) == len(pads) / 2 == n > 0:
        raise NodeError(f"columns {extents(x.type.shape)}, image {image} and block {block} do not fit")
    span = [i + a + b for i, a, b in zip(image, pads[:n], pads[n:], strict=True)]
    counts = [
        window_extent(s, k, stride, 0, d)
        for s, k, stride, d in zip(span, block, strides, dilations, strict=True)
    ]
    taps = math.prod(block)
    if x.type.shape[1] % taps or math.prod(counts) != x.type.shape[2]:
        raise NodeError(f"columns {extents(x.type.shape)} are not blocks {block} of an image {image}")
    left = [
        s - (c - 1) * stride - d * (k - 1) - 1
        for s, c, stride, d, k in zip(span, counts, strides, dilations, block, strict=True)
    ]
    channels = x.type.shape[1] // taps
    one = np.eye(taps, dtype=x.type.dtype.numpy).reshape(taps, 1, *block)
    columns = node.emit("reshape", [x], shape=(*x.type.shape[:2], *counts))
    how = {"strides": strides, "dilations": dilations, "pads": pads, "output_padding": tuple(left)}
    weights = node.constant(np.tile(one, (channels, *[1] * (n + 1))))
    return node.emit("conv_transpose", [columns, weights], **how, groups=channels)


def average_pool(node: Node) -> Value:
    x = node.input(0)
    return node.emit(
        "average_pool", [x], **pool_window(node, x), count_include_pad=node.flag("count_include_pad")
    )


def _global_pool(reduction: str) -> Handler:
    def handler(node: Node) -> Value:
        x = node.input(0)
        return node.emit(reduction, [x], axes=tuple(range(2, 2 + spatial_rank(x))), keepdims=True)

    return handler


HANDLERS: dict[str, Handler] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Col2Im": col2im,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
    "AveragePool": average_pool,
    "GlobalAveragePool": _global_pool("reduce_mean"),
    "GlobalMaxPool": _global_pool("reduce_max"),
}
