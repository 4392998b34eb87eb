"""Means and sums over any axes, made of those of planes."""

from __future__ import annotations

from math import prod

import numpy as np

from secateur.ir.graph import Operator, Value
from secateur.ir.rewrite import Match, Op, Rule

from .floats import need_floats


def _axes(op: Operator) -> list[int]:
    rank = op.operands[0].type.rank
    return sorted(a % rank for a in op["axes"]) or list(range(rank))


def _guard_mean(m: Match) -> None:
    need_floats(m)
    x = m.root.operands[0].type
    m.need(_axes(m.root) != list(range(2, x.rank)), "it is one of planes already")
    m.need(x.elements > 0, "it is one of nothing")


def _planes(m: Match) -> Value:
    """What the root averages or adds up, as planes: (n, 1, k) or (1, n, k) for n results of k elements.

    The file holds channels last: with the channels gone, results are what is outermost there, else innermost.
    """
    x, axes = m.root.operands[0], _axes(m.root)
    kept = [a for a in range(x.type.rank) if a not in axes]
    if x.type.rank == 4 and 1 not in axes:
        kept = [a for a in kept if a != 1] + [1]
    turned = m.new("nn.transpose", [x], perm=tuple(kept + axes))
    results, count = (prod(x.type.shape[a] for a in part) for part in (kept, axes))
    innermost = x.type.rank - 1 in axes if x.type.rank != 4 else 1 in axes
    return m.new("nn.reshape", [turned], shape=(results, 1, count) if innermost else (1, results, count))


def _returned(m: Match, made: Value) -> Value:
    """The reduced planes in the root's shape."""
    op = m.root
    x, axes = op.operands[0].type, _axes(op)
    kept = [a for a in range(x.rank) if a not in axes]
    if x.rank != 4 or 1 in axes or max(kept) == 1:
        return m.new("nn.reshape", [made], shape=op.result.type.shape)
    last = [a for a in kept if a != 1] + [1]
    split = m.new("nn.reshape", [made], shape=tuple(x.shape[a] for a in last))
    turned = m.new("nn.transpose", [split], perm=tuple(last.index(a) for a in kept))
    return m.new("nn.reshape", [turned], shape=op.result.type.shape)


def _mean(m: Match) -> Value:
    """reduce_mean(x) {axes}   ->   the mean of planes of x, transposed and reshaped

    where the axes are not those of planes.
    """
    return _returned(m, m.new("nn.reduce_mean", [_planes(m)], axes=(2,), keepdims=True))


def _sum(m: Match) -> Value:
    """reduce_sum(x) {axes}   ->   conv(planes of x, ones), a group for each of several results"""
    planes = _planes(m)
    groups, count = planes.type.shape[1:]
    ones = m.constant(np.ones((groups, 1, count), np.float32), f"{m.root.loc}.ones")
    window = {"strides": (1,), "dilations": (1,), "pads": (0, 0), "groups": groups}
    return _returned(m, m.new("nn.conv", [planes, ones], **window))


RULES: tuple[Rule, ...] = (
    Rule("tflite-mean", Op("nn.reduce_mean"), _guard_mean, _mean),
    Rule("tflite-sum", Op("nn.reduce_sum"), need_floats, _sum),
)
