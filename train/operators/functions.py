"""The element-wise functions of `secateur.ir.elementwise` in PyTorch, under the same names."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Function = Callable[..., Tensor]


def _divide(x: Tensor, y: Tensor) -> Tensor:
    """Integers round towards zero."""
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


def _shrink(x: Tensor, limit: float, bias: float) -> Tensor:
    return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, torch.zeros_like(x)))


FUNCTIONS: dict[str, Function] = {
    "relu": torch.relu,
    "leaky_relu": lambda x, a: torch.where(x >= 0, x, x * a),
    "elu": lambda x, a: torch.where(x >= 0, x, a * torch.expm1(x.clamp(max=0))),
    "clip": lambda x, low, high: x.clamp(low, high),
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": lambda x, a, b: (a * x + b).clamp(0, 1),
    "hard_swish": lambda x: x * (x / 6 + 0.5).clamp(0, 1),
    "tanh": torch.tanh,
    "softplus": functional.softplus,
    "silu": functional.silu,
    "mish": functional.mish,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "softsign": lambda x: x / (1 + x.abs()),
    "thresholded_relu": lambda x, a: torch.where(x > a, x, torch.zeros_like(x)),
    "shrink": _shrink,
    "erf": torch.erf,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "neg": torch.neg,
    "abs": torch.abs,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "sin": torch.sin,
    "cos": torch.cos,
    "add": torch.add,
    "sub": torch.sub,
    "rsub": lambda x, y: y - x,
    "mul": torch.mul,
    "div": _divide,
    "rdiv": lambda x, y: _divide(y, x),
    "pow": torch.pow,
    "rpow": lambda x, y: torch.pow(y, x),
    "mod": torch.remainder,
    "fmod": torch.fmod,
    "min": torch.minimum,
    "max": torch.maximum,
    "prelu": lambda x, y: torch.where(x >= 0, x, x * y),
}
