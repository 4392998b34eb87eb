"""What every step looks like, and helpers that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ...ir.graph import Operator
from ...ir.types import DType
from .functions import FUNCTIONS

Step = Callable[[Sequence[Tensor], bool], Tensor]
"""Operand tensors, and whether the network is in training, to the result."""

Rule = Callable[[Operator], Step]


def plain(function: Callable[..., Tensor]) -> Rule:
    """The rule of an operator without attributes: `function` of the operands."""

    def rule(_op: Operator) -> Step:
        return lambda tensors, _training: function(*tensors)

    return rule


def torch_dtype(dtype: DType) -> torch.dtype:
    """The type of the same name in PyTorch."""
    return torch.from_numpy(np.empty(0, dtype.numpy)).dtype


def epilogue_of(op: Operator) -> Callable[[Tensor, Sequence[Tensor]], Tensor]:
    """The operator's epilogue: its steps in order, each binary step with the next extra operand."""
    steps = [(FUNCTIONS[s.op], s.params, s.function.arity == 2) for s in op["epilogue"]]

    def apply(x: Tensor, extras: Sequence[Tensor]) -> Tensor:
        rest = iter(extras)
        for function, params, binary in steps:
            x = function(x, *([next(rest)] if binary else []), *params)
        return x

    return apply
