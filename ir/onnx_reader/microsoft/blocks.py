"""Weights of a few bits with a scale for each block, which are known and become reals while reading."""

from __future__ import annotations

import numpy as np

from ...graph import Value
from ...types import extents
from ..node import Handler, Node, NodeError
from ..tensors import Array, unpacked


def _zeros(node: Node, rows: int, blocks: int, bits: int) -> Array:
    """The zero point of each block; without any, the middle."""
    if node.optional(3) is None:
        return np.full((rows, blocks, 1), 1 << (bits - 1), np.float32)
    given = node.known(3, "zero points")
    if given.dtype == np.uint8:
        packed = given.reshape(rows, -1)
        return unpacked(packed, bits, blocks).astype(np.float32).reshape(rows, blocks, 1)
    return given.astype(np.float32).reshape(rows, blocks, 1)


def matmul_n_bits(node: Node) -> Value:
    """A B^T + bias, B's N rows of K integers in blocks along K.

    Inputs: A, B (N x blocks x bytes), scales, zero points, order of groups, bias.
    """
    if node.optional(4) is not None:
        raise NodeError("an order of groups is not supported")
    rows, inner = node.integer("N"), node.integer("K")
    bits, size = node.integer("bits", 4), node.integer("block_size")
    if bits not in (2, 4, 8) or size < 1 or rows < 1 or inner < 1:
        raise NodeError(f"{bits} bits, blocks of {size}, {rows} x {inner} weights are not supported")
    blocks = -(-inner // size)
    packed, scales = node.known(1, "weights"), node.known(2, "scales")
    if packed.size != rows * blocks * size * bits // 8 or scales.size != rows * blocks:
        raise NodeError(f"weights {extents(packed.shape)} or scales {extents(scales.shape)} do not fit")
    stored = unpacked(packed.reshape(rows, blocks, -1), bits, size).astype(np.float32)
    steps = stored - _zeros(node, rows, blocks, bits)
    real = (steps * scales.astype(np.float32).reshape(rows, blocks, 1)).reshape(rows, -1)[:, :inner]
    a = node.input(0)
    w = node.constant(np.ascontiguousarray(real.T).astype(a.type.dtype.numpy))
    return node.biased("matmul", [a, w], node.optional(5), {})


HANDLERS: dict[str, Handler] = {"MatMulNBits": matmul_n_bits}
