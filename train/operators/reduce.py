"""Reductions over axes; over no axes each element is reduced by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...ir.graph import Operator
from .step import Rule, Step


def _same(x: Tensor) -> Tensor:
    return x


def _reduction(
    function: Callable[..., Tensor],
    inner: Callable[[Tensor], Tensor] = _same,
    outer: Callable[[Tensor], Tensor] = _same,
) -> Rule:
    """`outer` of the reduction of `inner` of the elements."""

    def rule(op: Operator) -> Step:
        axes, keep = tuple(a % op.operands[0].type.rank for a in op["axes"]), op["keepdims"]
        if not axes:
            return lambda tensors, _training: outer(inner(tensors[0]))
        return lambda tensors, _training: outer(function(inner(tensors[0]), axes, keep))

    return rule


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    """One axis after the other, the last one first, so that the numbers of the rest stay."""
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keep)
    return x


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    """In the operand's type, integers too."""
    return torch.sum(x, axes, keep, dtype=x.dtype)


def argmax(op: Operator) -> Step:
    """The first of equals, or the last."""
    axis, keep, last = op["axis"], op["keepdims"], op["select_last"]
    extent = op.operands[0].type.shape[axis]

    def step(x: Tensor) -> Tensor:
        if not last:
            return torch.argmax(x, axis, keep)
        return extent - 1 - torch.argmax(x.flip(axis), axis, keep)

    return lambda tensors, _training: step(tensors[0])


RULES: dict[str, Rule] = {
    "nn.reduce_mean": _reduction(torch.mean),
    "nn.reduce_sum": _reduction(_sum),
    "nn.reduce_prod": _reduction(_product),
    "nn.reduce_l1": _reduction(_sum, torch.abs),
    "nn.reduce_sum_square": _reduction(_sum, torch.square),
    "nn.reduce_l2": _reduction(_sum, torch.square, torch.sqrt),
    "nn.reduce_log_sum": _reduction(_sum, outer=torch.log),
    "nn.reduce_max": _reduction(torch.amax),
    "nn.reduce_min": _reduction(torch.amin),
    "nn.argmax": argmax,
}
