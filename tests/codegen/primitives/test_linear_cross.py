"""8-bit kernels for ARM under qemu-user: the bits of the interpreter."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.targets.rows import TARGETS
from secateur.ir.graph import Value, constant_of
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType

from ...sampled import in_turn
from ..bytes_harness import activation, slopes, some_bytes, stored
from ..cross_harness import EMULATORS, Case, check_on
from ..linear_harness import conv_case, matmul_case
from .conv.test_linear_depthwise import Case as Depthwise

SAME = (1, 1, 1, 1)
_RNG = np.random.default_rng(2)
WITH_LOWEST = _RNG.integers(-128, 128, (33, 20, 3, 3)).astype(np.int8)
EXTREME, ENDS = _RNG.choice([-127, 127], (16, 32, 3, 3)).astype(np.int8), np.zeros((1, 32, 6, 7), np.uint8)
PRODUCTS = [
    Case("direct", *conv_case(1, (1, 20, 6, 7), 33, (3, 3), pads=SAME, zero=7, residual=True, result_zero=9)),
    Case("direct", *conv_case(16, (1, 32, 6, 7), 33, (3, 3), pads=SAME, zero=7, residual=True)),
    Case("direct", *conv_case(17, (1, 16, 9, 13), 24, (3, 5), pads=(1, 2, 1, 2), strides=(2, 2), zero=3)),
    Case("im2row", *conv_case(18, (1, 32, 6, 7), 24, (3, 3), pads=SAME, strides=(1, 2), zero=7)),
    Case("im2row", *conv_case(6, (1, 20, 6, 7), 33, (3, 3), pads=SAME, strides=(2, 1), zero=7)),
    Case("kn2row", *conv_case(7, (1, 20, 6, 7), 33, (3, 3), pads=SAME, zero=7, residual=True, result_zero=9)),
    Case("pointwise", *conv_case(2, (1, 40, 5, 3), 48, (1, 1), limits=(0, 200))),
    Case("grouped", *conv_case(3, (1, 12, 5, 5), 24, (3, 3), groups=3, zero=128, real=True)),
    Case("dense", *matmul_case(4, 2, 35, 20, zero=5)),
    Case("dense", *matmul_case(4, 1, 67, 36, zero=5)),
    Case("direct", *conv_case(5, (1, 3, 9, 8), 16, (3, 3), pads=SAME, strides=(2, 2), zero=100)),
    Case(
        "direct",
        *conv_case(8, (2, 3, 9, 21), 24, (5, 4), pads=(2, 1, 2, 1), dilations=(1, 2), limits=(3, 99)),
    ),
    Case(
        "pointwise", *conv_case(9, (1, 32, 5, 3), 24, (1, 1), residual=True, residual_zero=7, result_zero=99)
    ),
    *(
        Case(name, *conv_case(11, (1, 20, 6, 7), 33, (3, 3), pads=SAME, zero=7, w=WITH_LOWEST))
        for name in ("direct", "im2row", "kn2row")
    ),
    Case("direct", *conv_case(12, (1, 32, 6, 7), 16, (3, 3), zero=7, w=EXTREME, x=ENDS, limits=(0, 255))),
    Case("pointwise", *conv_case(13, (1, 16, 5, 3), 21, (1, 1), result_zero=9, residual=True)),
    Case(
        "depthwise", *conv_case(15, (1, 20, 9, 14), 20, (3, 3), groups=20, pads=SAME, strides=(2, 2), zero=9)
    ),
    Case("depthwise", *conv_case(14, (1, 21, 6, 5), 21, (3, 3), groups=21, pads=SAME, limits=(9, 120))),
    Case("pointwise", *conv_case(10, (1, 16, 5, 3), 12, (1, 1), result_zero=200, limits=(100, 255))),
]
COLUMNS = [
    Case("depthwise_columns", case.operator(), case.arrays("any"))
    for case in (
        Depthwise(20, 9, 14, result_zero=0),
        Depthwise(20, 5, 9, zero=200, strides=(2, 2), limits=(9, 120)),
        Depthwise(33, 7, 20, (2, 3), (1, 2), (1, 0, 1, 2), zero=0, batch=2, residual=True),
    )
]
"""By dot products, for targets that have them."""

pytestmark = pytest.mark.slow  # the first link for a target builds its libc: minutes


@pytest.mark.examples
@pytest.mark.parametrize("name", list(EMULATORS))
def test_arm_gives_the_interpreters_bits(name: str, tmp_path: Path) -> None:
    products = in_turn(PRODUCTS, [*EMULATORS].index(name), lambda case: case.primitive)
    check_on(name, [*products, *(COLUMNS if "dotprod" in TARGETS[name].features else [])], tmp_path)


SHAPE = (2, 20, 9, 11)
WINDOW = {"kernel": (3, 3), "strides": (2, 2), "pads": SAME, "dilations": (1, 1)}
WHOLE = {"kernel": SHAPE[2:], "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}


def _of_bytes(
    primitive: str, name: str, attributes: dict[str, Any], operands: int = 1, layouts: int = 0
) -> Case:
    op = create(name, [activation(SHAPE, 5, name=f"x{i}") for i in range(operands)], attributes)
    return Case(primitive, op, [some_bytes(SHAPE) for _ in range(operands)], layouts)


def known(value: Value) -> Any:
    array = constant_of(value)
    assert array is not None
    return array


def _others(name: str) -> list[Case]:
    floats = (20 * np.random.default_rng(1).standard_normal((1, 3, 9, 11))).astype(np.float32)
    floats.flat[:6] = np.nan, np.inf, -np.inf, 3e38, 0.05, 0.15  # scale 0.1: the last two are halves
    quantize = partial(
        create,
        "q.quantize",
        attributes={"scales": (0.1,), "zero_points": (7,), "dtype": DType.U8},
    )
    values = some_bytes((256,))
    table = create("nn.constant", [], {"value": values}).result
    lookup = create("q.table", [activation(SHAPE), table], {"scales": (0.1,), "zero_points": (3,)})
    depthwise = Depthwise(20, 9, 11)
    below = slopes(SHAPE)
    prelu = create("q.linear_prelu", [activation(SHAPE, 99), below], stored(9))
    return [
        Case("depthwise", depthwise.operator(), depthwise.arrays("any")),
        _of_bytes("linear_elementwise", "q.linear_add", stored(9, (9, 200)), 2),
        _of_bytes("linear_elementwise", "q.linear_mul", stored(), 2, 1),
        Case("linear_prelu", prelu, [some_bytes(SHAPE), known(below)]),
        _of_bytes("linear_average_pool", "q.linear_average_pool", {**WINDOW, **stored(9)}),
        _of_bytes("linear_average_pool", "q.linear_average_pool", {**WHOLE, "dtype": DType.F32}),
        _of_bytes("pool_blocked", "nn.max_pool", WINDOW),
        *(_of_bytes("relayout", "nn.relayout", {}, layouts=i) for i in range(6)),
        *(
            Case("quantize_bytes", quantize([Value(TensorType(floats.shape), "x")]), [floats], i)
            for i in (0, 1)
        ),
        _of_bytes("quantize_bytes", "q.dequantize", {}),
        Case("table_bytes" if TARGETS[name].isa.lookup else "table", lookup, [some_bytes(SHAPE), values]),
    ]


@pytest.mark.parametrize("name", list(EMULATORS))
def test_arm_gives_the_bits_of_other_operators(name: str, tmp_path: Path) -> None:
    check_on(name, _others(name), tmp_path)
