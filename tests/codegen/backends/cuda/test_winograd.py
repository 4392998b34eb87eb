"""Convolutions quantized in the Winograd domain on GPUs: the interpreter's bits, by every way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter

from ...primitives.conv.test_linear_winograd import TILES, layer
from .harness import choices, run

XAVIER, NANO = GPUS["jetson-xavier"], GPUS["jetson-nano"]
WAYS = ("winograd_staged",)

CASES: list[dict[str, Any]] = [
    {"shape": (1, 32, 9, 11), "filters": 32},
    {"shape": (2, 20, 8, 8), "filters": 40, "zero": 7, "result": 3, "residual": True},
    {"shape": (1, 64, 6, 5), "filters": 16, "pads": (0, 1, 2, 0), "zero": 128},
    {"shape": (1, 16, 3, 3), "filters": 36, "pads": (0, 0, 0, 0), "zero": 255, "result": None},
]


def check(target: Target, way: str, shape: Any, filters: int, tile: tuple[int, int], **options: Any) -> None:
    op, arrays = layer(shape, filters, tile, **options)
    wanted = interpreter.evaluate(op, arrays)[0]
    assert np.unique(wanted).size > 3 or options.get("extreme")
    (choice,) = choices(op, target, way)
    np.testing.assert_array_equal(run(op, arrays, target, choice), wanted)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("tile", TILES)
def test_bits(tile: tuple[int, int], case: int, way: str) -> None:
    check(XAVIER, way, tile=tile, **CASES[case])


@pytest.mark.parametrize("way", WAYS)
def test_bits_without_dot_products(way: str) -> None:
    check(NANO, way, tile=(4, 4), **CASES[1])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("zero", [0, 255])
def test_saturation(zero: int, sign: int, way: str) -> None:
    for tile in TILES[::3]:
        check(XAVIER, way, (1, 32, 8, 8), 16, tile, zero=zero, extreme=sign)
