"""Convolutions quantized in the Winograd domain on GPUs: the interpreter's bits, by every way."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.winograd.fused_schedules import candidates
from secateur.codegen.backends.cuda.winograd.fused_tile import FusedTile
from secateur.codegen.backends.cuda.winograd.operands import layer_of
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.registry import create

from ....sampled import sampled_rows
from ...primitives.conv.test_linear_winograd import TILES, layer
from ...simt.emulator import Gpu, configure
from .harness import choices, run

XAVIER, NANO = GPUS["jetson-xavier"], GPUS["jetson-nano"]
WAYS = ("winograd_staged", "winograd_fused")

SATURATED = [
    (way, *rest) for rest in ((1, 0, (2, 2)), (-1, 0, (4, 4)), (1, 255, (4, 4))) for way in reversed(WAYS)
]
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


@pytest.mark.parametrize(
    ("tile", "case"), sampled_rows(product(TILES, range(4)), lambda tile, case: TILES.index(tile) == case)
)
def test_bits_by_three_kernels(tile: tuple[int, int], case: int) -> None:
    check(XAVIER, "winograd_staged", tile=tile, **CASES[case])


@pytest.mark.parametrize("case", range(len(CASES)))
def test_bits_by_one_kernel(case: int) -> None:
    check(XAVIER, "winograd_fused", tile=TILES[case], **CASES[case])


def test_bits_without_dot_products() -> None:
    check(NANO, "winograd_staged", tile=(4, 4), **CASES[1])


@pytest.mark.parametrize("way", WAYS)
def test_one_scale_for_all_as_lance_has(way: str) -> None:
    op, (x, u, factors, scales, bias) = layer((1, 32, 9, 11), 32, (2, 2), zero=7)
    arrays = [x, u, np.full_like(factors, 2000), np.full_like(scales, scales.mean()), bias]
    constants = [create("nn.constant", [], {"value": array}).result for array in arrays[1:]]
    op = create(op.name, [op.operands[0], *constants], op.attributes)
    (choice,) = choices(op, XAVIER, way)
    np.testing.assert_array_equal(run(op, arrays, XAVIER, choice), interpreter.evaluate(op, arrays)[0])


@pytest.mark.parametrize(
    ("way", "sign", "zero", "tile"),
    sampled_rows(SATURATED, lambda *row: row in (SATURATED[0], SATURATED[3], SATURATED[4])),
)
def test_saturation(tile: tuple[int, int], zero: int, sign: int, way: str) -> None:
    check(XAVIER, way, (1, 32, 8, 8), 16, tile, zero=zero, extreme=sign)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "way"), sampled_rows(product(range(4), WAYS), lambda *row: row in zip((1, 2), WAYS, strict=True))
)
def test_random_layers_in_every_order_of_threads(seed: int, way: str) -> None:
    choose = np.random.default_rng(seed)
    shape = [int(choose.integers(1, 3)), int(choose.integers(3, 50)), *map(int, choose.integers(3, 19, 2))]
    options: dict[str, Any] = {
        "pads": tuple(int(p) for p in choose.integers(0, 2, 4)),
        "zero": int(choose.integers(0, 256)),
        "residual": bool(seed % 2),
        "result": [3, None][seed // 2],
    }
    filters = int(choose.integers(3, 70))
    for order in (0, 1, seed + 2):
        configure(Gpu(order=order))
        check(XAVIER, way, tuple(shape), filters, TILES[seed % 4], **options)
    configure()


def test_every_schedule_has_each_sum_once() -> None:
    op, _ = layer((1, 64, 56, 56), 64, (4, 4))
    found = list(candidates(layer_of(op, XAVIER), XAVIER.cuda.architecture))
    assert found
    assert all(tile.warps * tile.held == 36 and tile.threads <= 1024 for tile in found)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((16, 28, 64, 7, 4, 8), "tiles and filters once"), ((36, 16, 32, 4, 4, 8), "different numbers")],
)
def test_schedules_check_themselves(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FusedTile(*sizes)
