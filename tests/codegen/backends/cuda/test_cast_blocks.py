"""Casts between floats of 32 and 16 bits, from any layout of the one to the blocks of the other."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType

from .harness import choices, run

NANO = GPUS["jetson-nano"]
FLOATS = (DType.F32, DType.F16)
SPECIAL = (0.0, -0.0, 65519.0, 65520.0, -1e9, np.inf, np.nan, 6e-8, 2.9e-8, 1 + 2**-11, 1 + 3 * 2**-11)
"""Ties, overflow and subnormal numbers among them."""


def cast(shape: tuple[int, ...], source: DType, to: DType) -> Operator:
    return create("nn.cast", [Value(TensorType(shape, source), "x")], {"dtype": to})


def numbers(shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    found = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
    count = min(found.size, len(SPECIAL))
    found.reshape(-1)[:count] = SPECIAL[:count]
    with np.errstate(over="ignore"):
        return found.astype(dtype.numpy)


@pytest.mark.parametrize("to", FLOATS, ids=lambda d: d.value)
@pytest.mark.parametrize("shape", [(2, 16, 3, 5), (1, 20, 7, 3), (3, 3, 9, 11), (1, 7, 10), (2, 13, 1, 1)])
def test_bits_from_each_layout(shape: tuple[int, ...], to: DType) -> None:
    """Padding is zero (the harness looks)."""
    (source,) = {*FLOATS} - {to}
    op, x = cast(shape, source, to), numbers(shape, source)
    with np.errstate(over="ignore"):
        wanted = interpreter.evaluate(op, [x])[0]
    found = choices(op, NANO, "cast_blocks")
    pairs = {(c.operand_layouts[0].block, c.result_layout.block) for c in found}
    assert pairs == ({(4, 8), (0, 8)} if to == DType.F16 else {(8, 4), (8, 0)})
    for choice in found:
        np.testing.assert_array_equal(run(op, [x], NANO, choice), wanted)


@pytest.mark.parametrize(
    ("shape", "source", "to"),
    [
        ((1, 8, 2, 2), DType.F32, DType.I32),
        ((8, 8), DType.F32, DType.F16),
        ((1, 0, 2, 2), DType.F32, DType.F16),
    ],
)
def test_others_are_left_to_others(shape: tuple[int, ...], source: DType, to: DType) -> None:
    assert {c.primitive for c in choices(cast(shape, source, to), NANO)} == {"elementwise"}


def test_where_binary16_is_slow_there_is_none() -> None:
    op = cast((1, 16, 2, 2), DType.F32, DType.F16)
    assert {c.primitive for c in choices(op, GPUS["cuda-sm_61"])} == {"elementwise"}
