"""Operands of what TFLite computes on bytes: quantized values, or known ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator, Value
from secateur.ir.rewrite import Match, Op
from secateur.ir.types import Quant

from ..integer.parts import dequantized, known, need_bytes
from ..quantize.calibration.ranges import quant_of
from .functions import tabled


def quantized_once(name: str) -> Op:
    """quantize(name(...)), which nothing else reads; it is called `p`."""
    return Op("q.quantize", (Op(name, (), "p", once=True),))


def brought(m: Match, value: Value, quant: Quant) -> Value:
    """A u8 value in another quantization."""
    if value.type.quant == quant:
        return value
    made = tabled(value, "requantize", quant, m.loc)
    m.created += made
    return made[-1].result


def bytes_of(m: Match, value: Value, at: Operator) -> Value:
    """The u8 value behind a dequantize; a known value is quantized by its own range."""
    found, array = dequantized(value), known(value)
    if found is None and array is not None and array.size:
        return _stored(m, array, value.name)
    return need_bytes(m, value, "operand", at)


def _stored(m: Match, array: NDArray[Any], name: str) -> Value:
    m.need(bool(np.isfinite(array).all()), "a constant is not finite")
    quant = quant_of(float(array.min()), float(array.max()))
    steps = np.rint(array / np.float32(quant.scales[0])) + quant.zero_points[0]
    made = m.constant(np.clip(steps, 0, 255).astype(np.uint8), f"{name}_quantized")
    made.type = replace(made.type, quant=quant)
    return made


def need_operand(m: Match, value: Value, at: Operator) -> None:
    found = dequantized(value) is not None or known(value) is not None
    m.need(found, f"the operand %{value.name} is neither dequantized from u8 with one scale nor known", at)
