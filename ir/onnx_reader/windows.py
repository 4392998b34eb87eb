"""Conv, ConvTranspose and the pools: kernels, strides, padding (explicit and `auto_pad`), dilation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph import Value
from ..types import extents
from .node import Handler, Node, NodeError

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


def max_pool(node: Node) -> Value:
    if len(node.proto.output) > 1:
        raise NodeError("the second output (indices) is not supported")
    x = node.input(0)
    return node.emit("max_pool", [x], **pool_window(node, x))


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
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": _global_pool("reduce_mean"),
    "GlobalMaxPool": _global_pool("reduce_max"),
}
