"""Attention, as ONNX Runtime's optimizer joins it for transformers: softmax(Q K^T scale + bias) V.

Extents: B batches, S queries, L keys, N heads of H elements, D = N H.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph import Value
from ...types import extents
from ..elementwise import cast_to
from ..matrix import scaled
from ..node import Handler, Node, NodeError
from ..quantize import dequantized, quant_of


@dataclass(frozen=True)
class _Heads:
    """Q (B x N x S x H), K (B x N x L x H) and V (B x N x L x H')."""

    q: Value
    k: Value
    v: Value


def _count(node: Node) -> int:
    count = node.integer("num_heads")
    if count < 1:
        raise NodeError(f"attribute 'num_heads' is {count}")
    return count


def _refuse(node: Node, named: dict[int, str]) -> None:
    """NodeError where an input outside the set is given."""
    for at, what in named.items():
        if node.optional(at) is not None:
            raise NodeError(f"{what} (input {at}) is not supported")


def _split(node: Node, x: Value, count: int) -> Value:
    """B x L x D as heads: B x N x L x H; what has four axes is so already."""
    if x.type.rank == 4:
        return x
    if x.type.rank != 3 or x.type.shape[2] % count:
        raise NodeError(f"an operand of shape {extents(x.type.shape)} is not {count} heads")
    batch, length, width = x.type.shape
    heads = node.emit("reshape", [x], shape=(batch, length, count, width // count))
    return node.emit("transpose", [heads], perm=(0, 2, 1, 3))


def _attend(node: Node, heads: _Heads, mask: Value | None, bias: Value | None) -> Value:
    """B x S x D"""
    q, k, v = heads.q, heads.k, heads.v
    width = q.type.shape[-1]
    scale = node.number("scale", 0.0) or 1 / math.sqrt(width)
    turned = node.emit("transpose", [k], perm=(0, 1, 3, 2))
    scores = scaled(node, node.emit("matmul", [q, turned]), scale)
    for more in (mask, bias, _later(node, scores)):
        scores = scores if more is None else node.emit("add", [scores, more])
    found = node.emit("matmul", [node.emit("softmax", [scores], axis=3), v])
    batch, count, length, each = found.type.shape
    rows = node.emit("transpose", [found], perm=(0, 2, 1, 3))
    return node.emit("reshape", [rows], shape=(batch, length, count * each))


def _later(node: Node, scores: Value) -> Value | None:
    """With `unidirectional` what keys behind a query's own place, both counted from the first, add."""
    if not node.flag("unidirectional"):
        return None
    queries, keys = scores.type.shape[2:]
    dtype: Any = scores.type.dtype.numpy
    behind = np.triu(np.ones((queries, keys), bool), 1)
    return node.constant(np.where(behind, np.finfo(dtype).min, 0).astype(dtype))


def _mask(node: Node, at: int, like: Value) -> Value | None:
    """What keys masked by 0 add: from B x L, or B x S x L."""
    given = node.optional(at)
    if given is None:
        return None
    if given.type.rank not in (2, 3):
        raise NodeError(f"a mask (input {at}) of shape {extents(given.type.shape)} is not supported")
    batch, *rows, keys = given.type.shape
    kept = node.emit("reshape", [given], shape=(batch, 1, *(rows or [1]), keys))
    off = node.emit("equal", [kept, node.constant(np.zeros((), given.type.dtype.numpy))])
    least = node.constant(np.array(node.number("mask_filter_value", -10000.0), like.type.dtype.numpy))
    return node.emit("mul", [cast_to(node, off, like.type.dtype), least])


# MultiHeadAttention ---------------------------------------------------------------------------------------


def multi_head_attention(node: Node) -> list[Value]:
    """The result, and keys and values by heads.

    Inputs: query, key, value, bias, key_padding_mask, attention_bias. Key and value may be packed with the
    query (B x L x N x 3 x H) or with each other (B x L x N x 2 x H).
    """
    _refuse(node, {6: "a past", 7: "a past", 8: "a past's length", 9: "indirection"})
    if any(node.proto.output[3:]):
        raise NodeError("scores as an output are not supported")
    parts = _parts(node)
    count, bias = _count(node), node.optional(3)
    if bias is not None:
        parts = _biased(node, parts, bias, count)
    heads = _Heads(*(_split(node, part, count) for part in parts))
    return [_attend(node, heads, _mask(node, 4, heads.q), node.optional(5)), heads.k, heads.v]


def _parts(node: Node) -> list[Value]:
    """Query, key and value, unpacked."""
    q, k, v = node.input(0), node.optional(1), node.optional(2)
    if k is None:
        return _unpacked(node, q, 3)
    return [q, *_unpacked(node, k, 2)] if v is None else [q, k, v]


def _unpacked(node: Node, x: Value, count: int) -> list[Value]:
    """B x L x N x count x H as so many times B x L x D."""
    if x.type.rank != 5 or x.type.shape[3] != count:
        raise NodeError(f"an operand of shape {extents(x.type.shape)} is not {count} packed")
    batch, length, heads, _, width = x.type.shape
    begins = [(0, 0, 0, i, 0) for i in range(count)]
    parts = [_slice(node, x, begin, (batch, length, heads, 1, width)) for begin in begins]
    return [node.emit("reshape", [p], shape=(batch, length, heads * width)) for p in parts]


def _slice(node: Node, x: Value, begin: Sequence[int], shape: Sequence[int]) -> Value:
    return node.emit("slice", [x], starts=tuple(begin), sizes=tuple(shape), steps=(1,) * len(shape))


def _biased(node: Node, parts: list[Value], bias: Value, count: int) -> list[Value]:
    """Query, key and value with their shares of a bias of all three; one that comes by heads has its own."""
    found, at = [], 0
    for part in parts:
        width = part.type.shape[-1] * (count if part.type.rank == 4 else 1)
        share = _slice(node, bias, (at,), (width,))
        found.append(part if part.type.rank == 4 else node.emit("add", [part, share]))
        at += width
    if bias.type.shape != (at,):
        raise NodeError(f"a bias of shape {extents(bias.type.shape)} is not for {at} elements")
    return found


# Attention ------------------------------------------------------------------------------------------------


def attention(node: Node) -> Value:
    """Inputs: x (B x S x C), weights (C x 3 D), bias, mask, past, attention_bias."""
    _refuse(node, {4: "a past", 6: "a past's length"})
    return _projected(node, node.input(0), node.input(1), (2, 3), node.optional(5))


def qattention(node: Node) -> Value:
    """Inputs: x, weights, bias, x's scale, the weights', mask, their zero points, past."""
    _refuse(node, {8: "a past"})
    x, w = node.input(0), node.input(1)
    order = [node.inputs[i] if i < len(node.inputs) else None for i in (0, 3, 6, 1, 4, 7)]
    pairs = Node(node.proto, order, node.opset, node.loc, node.builder, node.scope)
    real = dequantized(node, x, quant_of(pairs, 1, x.type.rank, 1))
    weights = dequantized(node, w, quant_of(pairs, 4, w.type.rank, 1))
    return _projected(node, real, weights, (2, 5), None)


def _projected(node: Node, x: Value, w: Value, at: tuple[int, int], more: Value | None) -> Value:
    """Attention among projections of x; `at` says which inputs are bias and mask."""
    if node.flag("do_rotary"):
        raise NodeError("rotary embedding is not supported")
    if x.type.rank != 3 or w.type.rank != 2:
        raise NodeError(f"operands {extents(x.type.shape)} and {extents(w.type.shape)} do not fit")
    count, (batch, length, channels) = _count(node), x.type.shape
    rows = node.emit("reshape", [x], shape=(batch * length, channels))
    together = node.biased("matmul", [rows, w], node.optional(at[0]), {})
    widths = node.ints("qkv_hidden_sizes", (w.type.shape[1] // 3,) * 3)
    if len(widths) != 3 or sum(widths) != w.type.shape[1]:
        raise NodeError(f"weights {extents(w.type.shape)} are not for three parts of {widths}")
    begins = (0, widths[0], widths[0] + widths[1])
    heads = []
    for begin, width in zip(begins, widths, strict=True):
        part = _slice(node, together, (0, begin), (batch * length, width))
        side = node.emit("reshape", [part], shape=(batch, length, width))
        heads.append(_split(node, side, count))
    return _attend(node, _Heads(*heads), _mask(node, at[1], heads[0]), more)


HANDLERS: dict[str, Handler] = {
    "Attention": attention,
    "MultiHeadAttention": multi_head_attention,
    "QAttention": qattention,
}
