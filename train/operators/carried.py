"""Carried channels, and sums of channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...ir.graph import Operator
from ...ir.ranges import indices_of, shared_out
from .step import Rule, Step


def carry(op: Operator) -> Step:
    picks = torch.tensor(indices_of(op["ranges"]), dtype=torch.int64)
    return lambda tensors, _training: tensors[0].index_select(1, picks.to(tensors[0].device))


def channel_sum(op: Operator) -> Step:
    places = shared_out(op["ranges"], [v.type.shape[1] for v in op.operands])
    indices, channels = [torch.tensor(p, dtype=torch.int64) for p in places], op["channels"]

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        first = tensors[0]
        total = first.new_zeros((first.shape[0], channels, *first.shape[2:]))
        for x, at in zip(tensors, indices, strict=True):
            total = total.index_add(1, at.to(x.device), x)
        return total

    return step


RULES: dict[str, Rule] = {"nn.carry": carry, "nn.channel_sum": channel_sum}
