"""Tables of bytes on GPUs, in blocks of channels and without."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

from .harness import choices, run

NANO = GPUS["jetson-nano"]


def table(shape: tuple[int, ...], dtype: DType, values: np.ndarray) -> Operator:
    known = create("nn.constant", [], {"value": values}).result
    x = Value(TensorType(shape, dtype, quant=Quant((0.5,), (3,))), "x")
    return create("q.table", [x, known], {"scales": (0.1,), "zero_points": (3,)})


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8], ids=lambda d: d.value)
@pytest.mark.parametrize("shape", [(2, 20, 3, 5), (1, 32, 5, 3), (1, 5, 1, 1), (2, 7, 9), (3, 21), (5,)])
def test_every_byte_is_looked_up(shape: tuple[int, ...], dtype: DType) -> None:
    """Padding is zero (the harness looks), whatever the table says of zero."""
    draw = np.random.default_rng(len(shape))
    values = draw.integers(1, 256, 256).astype(np.uint8)
    op = table(shape, dtype, values)
    x = draw.integers(0, 256, shape).astype(np.uint8).view(dtype.numpy)
    wanted = interpreter.evaluate(op, [x, values])[0]
    found = choices(op, NANO, "table_blocks")
    blocked = [c.result_layout.block for c in found]
    assert blocked == ([16, 0] if len(shape) > 2 else [0])
    for choice in found:
        np.testing.assert_array_equal(run(op, [x, values], NANO, choice), wanted)


def test_a_table_of_other_elements_is_left_to_others() -> None:
    wide = table((1, 16, 2, 2), DType.U8, np.zeros(256, np.int32))
    assert {c.primitive for c in choices(wide, NANO)} == {"table"}
