"""Figures of the report on a quantized network."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.graph import Value
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType
from secateur.passes.quantize.report import saturated_share

ENDS = np.array([[0, 0, 0, 7, 128, 200, 254, 255]], np.uint8)


def share(zero: int, *results: np.ndarray) -> float | None:
    attributes = {"scales": (0.1,), "zero_points": (zero,), "dtype": DType.U8}
    return saturated_share(create("q.quantize", [Value(TensorType((1, 8)), "x")], attributes), results)


@pytest.mark.parametrize(
    ("zero", "wanted"), [(0, 1 / 8), (7, 4 / 8), (128, 4 / 8), (255, 3 / 8)], ids=lambda v: str(v)
)
def test_an_end_that_stands_for_zero_is_no_saturation(zero: int, wanted: float) -> None:
    assert share(zero, ENDS) == wanted


def test_the_share_is_of_all_results() -> None:
    assert share(3, ENDS, np.full((1, 8), 9, np.uint8)) == 4 / 16
    assert share(3) == 0.0


def test_a_real_result_has_no_share() -> None:
    real = create("nn.relu", [Value(TensorType((1, 8)), "x")], {})
    assert saturated_share(real, [np.zeros((1, 8), np.float32)]) is None
