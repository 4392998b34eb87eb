"""What rules to integers share: quantized operands behind dequantize, known values, limits."""

from __future__ import annotations

import math

import numpy as np

from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator, Value
from secateur.ir.interpreter import evaluate
from secateur.ir.rewrite import Array, Match
from secateur.ir.types import DType, Quant, TensorType

Limits = tuple[int, int]


def byte_quant(type: TensorType) -> Quant | None:
    """The quantization of a u8 tensor with one scale, else None."""
    return type.quant if type.dtype == DType.U8 and type.quant and type.quant.axis is None else None


def one_scale(type: TensorType, dtype: DType) -> bool:
    return type.dtype == dtype and type.quant is not None and type.quant.axis is None


def dequantized(value: Value) -> Value | None:
    """The u8 value with one scale that `value` is the f32 of, else None."""
    op = value.producer
    if op is None or op.name != "q.dequantize" or value.type.dtype != DType.F32:
        return None
    stored = op.operands[0]
    return stored if byte_quant(stored.type) is not None else None


def need_bytes(m: Match, value: Value, what: str, at: Operator | None = None) -> Value:
    """The u8 value that `value` is dequantized from; refuses where there is none."""
    found = dequantized(value)
    m.need(found is not None, f"the {what} %{value.name} is not dequantized from u8 with one scale", at)
    assert found is not None
    return found


def need_result(m: Match) -> Quant:
    """The quantization of the root, a quantize; refuses where it is not u8 with one scale."""
    quant = byte_quant(m.root.result.type)
    m.need(quant is not None, "the result is not u8 with one scale")
    assert quant is not None
    return quant


def known(value: Value) -> Array | None:
    """The elements of a value computed from constants by reshapes and dequantization, else None."""
    op = value.producer
    if op is None or op.name not in ("nn.constant", "nn.reshape", "q.dequantize"):
        return None
    operands = [known(v) for v in op.operands]
    arrays = [a for a in operands if a is not None]
    return evaluate(op, arrays)[0] if len(arrays) == len(operands) else None


def stored_number(real: float, quant: Quant) -> int:
    """What `q.quantize` makes of one real number in u8."""
    steps = np.rint(np.float32(real) / np.float32(quant.scales[0])) if math.isfinite(real) else real
    return int(min(max(float(steps) + quant.zero_points[0], 0), 255))


def real_number(stored: int, quant: Quant) -> float:
    """The real number that a stored integer stands for."""
    return float(np.float32(stored - quant.zero_points[0]) * np.float32(quant.scales[0]))


def limit_bounds(step: Step) -> tuple[float, float] | None:
    """The bounds of a step that limits its operand, else None."""
    if step.op == "relu":
        return 0.0, math.inf
    if step.op == "clip" and step.params[0] <= step.params[1]:
        return step.params[0], step.params[1]
    return None


def integer_limits(steps: tuple[Step, ...], quant: Quant) -> Limits | None:
    """The stored integers that `steps` before quantization limit the result to; None for other steps.

    Exact, for quantizing is monotonic: what a bound becomes is the bound of what numbers become.
    """
    low, high = 0, 255
    for step in steps:
        bounds = limit_bounds(step)
        if bounds is None:
            return None
        at_least, at_most = (stored_number(b, quant) for b in bounds)
        low, high = min(max(low, at_least), at_most), min(max(high, at_least), at_most)
    return low, high


def need_limits(m: Match, steps: tuple[Step, ...], quant: Quant, op: Operator) -> Limits:
    """`integer_limits`; refuses other steps."""
    limits = integer_limits(steps, quant)
    names = ", ".join(step.op for step in steps)
    m.need(limits is not None, f"steps {names} are no limits; quantize the value before them", op)
    assert limits is not None
    return limits


def quantized_result(quant: Quant, limits: Limits = (0, 255)) -> dict[str, object]:
    """Attributes of a `q.` operator whose result is u8 with `quant`."""
    made: dict[str, object] = {"scales": quant.scales, "zero_points": quant.zero_points}
    return made if limits == (0, 255) else {**made, "limits": limits}


REAL_RESULT: dict[str, object] = {"dtype": DType.F32}
"""Attributes of a `q.` operator whose result is f32."""
