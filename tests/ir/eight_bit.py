"""Operators on 8-bit tensors for tests, and their contract as scalar arithmetic, one element at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator, Value
from secateur.ir.interpreter import evaluate
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

Array = NDArray[Any]
F32 = np.float32


def byte(shape: Sequence[int], scale: float = 1.0, zero: int = 0) -> Value:
    return Value(TensorType(tuple(shape), DType.U8, quant=Quant((scale,), (zero,))), "x")


def weights(shape: Sequence[int], scales: Sequence[float], axis: int = 0) -> Value:
    quant = Quant(tuple(scales), (0,) * len(scales), axis)
    return Value(TensorType(tuple(shape), DType.I8, quant=quant), "w")


def plain(array: Array) -> Value:
    return Value(TensorType(array.shape, DType.of(array.dtype)), "c")


def result(scale: float = 1.0, zero: int = 0, limits: tuple[int, int] = (0, 255)) -> dict[str, Any]:
    return {"scales": (scale,), "zero_points": (zero,), "limits": limits}


REAL: dict[str, Any] = {"dtype": DType.F32}


def answer(
    name: str, operands: Sequence[Value], attributes: dict[str, Any], arrays: Sequence[Array]
) -> Array:
    op: Operator = create(name, operands, attributes)
    (found,) = evaluate(op, list(arrays))
    return found


def factor(*scales: float, by: float = 1.0) -> np.float32:
    """A product of scales in units of `by`, rounded once."""
    total = 1.0
    for scale in scales:
        total *= float(F32(scale))
    return F32(total / float(F32(by)))


def requantized(t: np.float32, zero: int, limits: tuple[int, int] = (0, 255)) -> int:
    """Half goes to the even neighbour."""
    whole = int(np.floor(t))
    rest = float(t) - whole
    up = rest > 0.5 or (rest == 0.5 and whole % 2 == 1)
    return min(max(whole + up + zero, limits[0]), limits[1])
