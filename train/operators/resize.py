"""Resize: along each axis an element, or a weighted sum of some (`secateur.ir.resampling`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...ir.errors import ModelError
from ...ir.graph import Operator
from ...ir.resampling import nearest, taps
from .step import Rule, Step


def resize(op: Operator) -> Step:
    """Axes one after the other, each by the tables that define the operator."""
    if op["coordinates"] == "tf_crop_and_resize":
        raise ModelError(f"{op.called} cannot be trained: it crops")
    shape = op.operands[0].type.shape
    changed = [a for a, d in enumerate(shape) if op["shape"][a] != d or op["scales"][a] != 1.0]
    along = _copied if op["mode"] == "nearest" else _summed
    steps = [along(op, axis) for axis in changed]

    def step(tensors: Sequence[Tensor], training: bool) -> Tensor:
        (x,) = tensors
        for one in steps:
            x = one([x], training)
        return x

    return step


def _copied(op: Operator, axis: int) -> Step:
    index = torch.from_numpy(nearest(op, axis))
    return lambda tensors, _training: tensors[0].index_select(axis, index.to(tensors[0].device))


def _summed(op: Operator, axis: int) -> Step:
    places, weights = (torch.from_numpy(table) for table in taps(op, axis))
    shape = [-1 if a == axis else 1 for a in range(op.operands[0].type.rank)]

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        (x,) = tensors
        terms = [
            x.index_select(axis, place.to(x.device)) * weight.reshape(shape).to(x)
            for place, weight in zip(places, weights, strict=True)
        ]
        return torch.stack(terms).sum(0)

    return step


RULES: dict[str, Rule] = {"nn.resize": resize}
