"""What TFLite's reference kernels of one 8-bit operand make of each of the 256 bytes.

Bytes are u8 with zero points to match: the kernels' i8 are the same integers less 128.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..elementwise import FUNCTIONS
from ..ops.tflite import UNIT
from ..types import Quant
from .fixed_point import away, multiplier_of, rescaled

Bytes = NDArray[np.uint8]

SIGNED_UNIT = Quant((1 / 128,), (128,))
"""Of what lies between -1 and 1."""


def _scale(quant: Quant) -> float:
    return float(np.float32(quant.scales[0]))


def _centred(x: Quant) -> NDArray[np.int64]:
    return np.arange(256, dtype=np.int64) - x.zero_points[0]


def _saturated(steps: NDArray[np.generic], y: Quant, low: int = 0) -> Bytes:
    return np.clip(steps.astype(np.float64) + y.zero_points[0], low, 255).astype(np.uint8)


def requantized(x: Quant, y: Quant) -> Bytes:
    """QUANTIZE from one quantization to another."""
    return _saturated(rescaled(_centred(x), *multiplier_of(_scale(x) / _scale(y))), y)


def relu(x: Quant, y: Quant) -> Bytes:
    """RELU, whose factor is a quotient in float32."""
    factor = float(np.float32(_scale(x)) / np.float32(_scale(y)))
    return _saturated(rescaled(_centred(x), *multiplier_of(factor)), y, y.zero_points[0])


def _tabled(name: str) -> Callable[[Quant, Quant], Bytes]:
    """A kernel that tables a float32 function: its result times 1 / scale, halves away from zero."""

    def function(x: Quant, y: Quant) -> Bytes:
        real = np.float32(_scale(x)) * _centred(x).astype(np.float32)
        inverse = np.float32(1) / np.float32(_scale(y))
        return _saturated(away(FUNCTIONS[name].evaluate(real) * inverse), y)

    return function


TABLES: dict[str, Callable[[Quant, Quant], Bytes]] = {
    "requantize": requantized,
    "relu": relu,
    "logistic": _tabled("sigmoid"),
    "tanh": _tabled("tanh"),
}
"""By the function that `q.table` names, its table from one quantization to another."""

FIXED: dict[str, Quant] = {"logistic": UNIT, "tanh": SIGNED_UNIT}
"""The only quantization that a kernel's result may have."""
