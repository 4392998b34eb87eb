"""8-bit operators on random bytes: every primitive in every layout is equal to the interpreter to the bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

from .generic_harness import RANDOM, Array, run
from .wide_code import tried_here

_ROWS = ("x86-64-v4-vnni", "x86-64-v3", "x86-64-v2")


def runnable() -> list[Target]:
    """The x86-64 rows whose kernels are tried here, one for each vector length, longest first."""
    return [t for t in map(TARGETS.__getitem__, _ROWS) if tried_here(t)]


def activation(shape: Sequence[int], zero: int = 0, scale: float = 0.02, name: str = "x") -> Value:
    """A u8 value of one scale."""
    return Value(TensorType(tuple(shape), DType.U8, quant=Quant((scale,), (zero,))), name)


def stored(zero: int = 0, limits: tuple[int, int] = (0, 255), scale: float = 0.05) -> dict[str, Any]:
    """Attributes of a quantized result."""
    return {"scales": (scale,), "zero_points": (zero,), "limits": limits}


def slopes(shape: Sequence[int]) -> Value:
    """A constant slope for each channel, of either sign."""
    values = np.linspace(-0.75, 1.5, shape[1]).astype(np.float32)
    return create("nn.constant", [], {"value": values}).result


REAL: dict[str, Any] = {"dtype": DType.F32}


def some_bytes(shape: Sequence[int], kind: str = "any") -> Array:
    """Any bytes, or the extremes alone."""
    high = RANDOM.integers(0, 256, tuple(shape))
    return (np.where(high < 128, 0, 255) if kind == "extreme" else high).astype(np.uint8)


def agree(
    make: Callable[[], Operator], arrays: Sequence[Array], target: Target, names: str = ""
) -> set[tuple[str, str]]:
    """Checks the applicable primitives whose names start with `names`; their (operand, result) layouts."""
    wanted, seen = interpreter.evaluate(make(), arrays)[0], set()
    for primitive in PRIMITIVES.candidates(make()):
        if not primitive.name.startswith(names) or primitive.applicable(make(), target) is not None:
            continue
        for number in range(len(primitive.layouts(make(), target))):
            op = make()
            answer = run(primitive, op, arrays, target, number)
            layouts = (op.operands[0].type.layout.name, op.result.type.layout.name)
            np.testing.assert_array_equal(answer, wanted, f"{primitive.name} {layouts}", strict=True)
            seen.add(layouts)
    assert seen, "no primitive applies"
    return seen
