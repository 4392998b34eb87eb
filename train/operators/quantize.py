"""Between real numbers and quantized ones; a stored integer is held as a float, so that gradients pass it.

Rounding counts as nothing in the gradient (straight through), saturation as a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...ir.graph import Operator
from ...ir.reference.quantize import scales_and_zeros
from ...ir.types import TensorType
from .step import Rule, Step, plain


def rounded(x: Tensor) -> Tensor:
    """The nearest whole number, of two the even one; the gradient is that of x."""
    return x + (torch.round(x) - x).detach()


def _numbers(type: TensorType) -> tuple[Tensor, Tensor]:
    """Scales and zero points of a quantized type, in float32."""
    assert type.quant is not None
    scales, zeros = scales_and_zeros(type.quant, type.rank)
    return torch.from_numpy(scales), torch.from_numpy(zeros.astype(np.float32))


def quantize(op: Operator) -> Step:
    scales, zeros = _numbers(op.result.type)
    whole: Any = op.result.type.dtype.numpy
    limits = np.iinfo(whole)

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        stored = rounded(tensors[0] / scales.to(tensors[0])) + zeros.to(tensors[0])
        inside = (stored >= limits.min) & (stored <= limits.max)  # clamp has no gradient at the limits either
        return torch.where(inside, stored, stored.detach().clamp(limits.min, limits.max))

    return step


def dequantize(op: Operator) -> Step:
    scales, zeros = _numbers(op.operands[0].type)

    def step(tensors: Sequence[Tensor], _training: bool) -> Tensor:
        return (tensors[0].to(scales.dtype) - zeros.to(tensors[0].device)) * scales.to(tensors[0].device)

    return step


RULES: dict[str, Rule] = {
    "q.quantize": quantize,
    "q.dequantize": dequantize,
    "q.annotate": plain(lambda x: x),
}
