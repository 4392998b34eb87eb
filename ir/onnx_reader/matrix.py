"""Gemm and MatMul."""

from __future__ import annotations

import numpy as np

from ..graph import Value
from ..types import extents
from .node import Handler, Node, NodeError


def scaled(node: Node, x: Value, factor: float) -> Value:
    """`x` times a scalar, computed at once where `x` is constant."""
    if factor == 1.0:
        return x
    return node.emit("mul", [x, node.constant(np.array(factor, x.type.dtype.numpy))])


def gemm(node: Node) -> Value:
    """alpha A B + beta C; alpha goes to B, which is nearly always a constant.

    With beta 0 there is no C, infinite or not, as the BLAS has it.
    """
    a, b, c = node.input(0), node.input(1), node.optional(2)
    if a.type.rank != 2 or b.type.rank != 2:
        raise NodeError(f"operands {extents(a.type.shape)} and {extents(b.type.shape)} are not matrices")
    a = node.emit("transpose", [a], perm=(1, 0)) if node.flag("transA") else a
    b = node.emit("transpose", [b], perm=(1, 0)) if node.flag("transB") else b
    b = scaled(node, b, node.number("alpha", 1.0))
    beta = node.number("beta", 1.0)
    bias = scaled(node, c, beta) if c and beta != 0 else None
    return node.biased("matmul", [a, b], bias, {})


def matmul(node: Node) -> Value:
    return node.emit("matmul", [node.input(0), node.input(1)])


HANDLERS: dict[str, Handler] = {"Gemm": gemm, "MatMul": matmul}
