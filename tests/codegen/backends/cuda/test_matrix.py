"""Matrix products by matrix instructions: the interpreter's bits, in every schedule and order of threads."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.implicit_gemm import PRIMITIVES, ImplicitGemm
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile, WmmaTile, matrix_candidates, order
from secateur.codegen.backends.cuda.tile import Tile
from secateur.codegen.backends.cuda.winograd import products
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter

from ....sampled import sampled, sampled_rows
from ...linear_harness import conv_case
from ...primitives.conv.test_linear_winograd import layer
from ...simt.emulator import Gpu, configure
from .harness import choices, run

ORIN, XAVIER = GPUS["jetson-orin"], GPUS["jetson-xavier"]
TILES = sorted(
    {tile for gpu in (ORIN, XAVIER) for tile in matrix_candidates(128, 4, gpu.cuda.architecture)}, key=str
)
KINDS = {MatrixTile: ORIN, WmmaTile: XAVIER}
TALL = partial(WmmaTile, tall=True)
Kind = Callable[..., MatrixTile]
every_kind = pytest.mark.parametrize("kind", [*KINDS, TALL], ids=["mma", "wmma", "tall wmma"])
CASES: list[dict[str, Any]] = [
    {"shape": (2, 40, 7, 9), "filters": 60, "kernel": (3, 3), "pads": (1, 0, 2, 1), "strides": (2, 1),
     "zero": 255, "result_zero": 13, "residual": True, "residual_zero": 3},
    {"shape": (1, 64, 5, 5), "filters": 96, "kernel": (1, 1), "limits": (0, 200)},
    {"shape": (1, 33, 9, 11), "filters": 31, "kernel": (3, 3), "dilations": (2, 3), "pads": (2, 3, 2, 3),
     "real": True, "zero": 128},
]  # fmt: skip


def check(case: Any, target: Target = ORIN) -> None:
    op, arrays = case
    name = "implicit_gemm" if op.name == "q.linear_conv" else "winograd_staged"
    wanted = interpreter.evaluate(op, arrays)[0]
    for choice in choices(op, target, name):
        np.testing.assert_array_equal(run(op, arrays, target, choice), wanted)


def one_warp(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A target whose schedule is that, of one or two blocks of channels a step."""

    def tile(self: ImplicitGemm, spec: Any, target: Any) -> MatrixTile:
        return kind(16, 32, 16, 32, 1 if self.blocks(spec, target) % 2 else 2)

    monkeypatch.setattr(ImplicitGemm, "tile", tile)
    return KINDS[type(kind(16, 32, 16, 32))]


@every_kind
@pytest.mark.parametrize("seed", range(len(CASES)))
def test_bytes_to_the_bit(seed: int, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    check(conv_case(seed, **CASES[seed]), one_warp(kind, monkeypatch))


@every_kind
@pytest.mark.parametrize("value", [-128, 127])
def test_extremes_do_not_saturate(value: int, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    w = np.full((32, 32, 3, 3), value, np.int8)
    case = conv_case(1, (1, 32, 4, 4), 32, (3, 3), w=w, x=np.full((1, 32, 4, 4), 255, np.uint8))
    check(case, one_warp(kind, monkeypatch))


@pytest.mark.parametrize(
    ("tile", "schedule"),
    sampled_rows(
        [
            ((2, 2), MatrixTile(8, 32, 8, 32, 1)),
            ((4, 2), MatrixTile(8, 32, 8, 32, 1)),
            ((4, 4), MatrixTile(8, 32, 8, 32, 1)),
            ((4, 4), WmmaTile(16, 32, 16, 16, 1)),
            ((4, 4), TALL(8, 32, 8, 32, 1)),
        ],
        lambda tile, schedule: tile == (2, 2) or isinstance(schedule, WmmaTile),
    ),
)
def test_winograd(tile: tuple[int, int], schedule: MatrixTile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed bytes on both sides, with the extremes."""
    monkeypatch.setattr(products, "tile_of", lambda *_: schedule)
    target = KINDS[type(schedule)]
    check(layer((1, 48, 6, 7), 60, tile, zero=3, residual=True), target)
    check(layer((1, 16, 4, 4), 32, tile, zero=255, extreme=-1), target)


def test_boards_choose_what_they_have() -> None:
    op, _ = conv_case(1, (1, 64, 56, 56), 64, (3, 3), pads=(1, 1, 1, 1))
    (primitive,) = (p for p in PRIMITIVES if "linear_conv" in p.operators)
    wanted = {
        "jetson-orin": MatrixTile,
        "jetson-xavier": WmmaTile,
        "cuda-sm_75": WmmaTile,
        "jetson-tx2": Tile,
    }
    for target, kind in wanted.items():
        assert type(primitive.primitive.tile(primitive.spec(op), GPUS[target])) is kind


@pytest.mark.slow
@pytest.mark.parametrize("tile", sampled(TILES, TILES[::7]), ids=str)
def test_every_schedule_in_every_order_of_threads(tile: MatrixTile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImplicitGemm, "tile", lambda *_: tile)
    case = conv_case(5, (1, 64, 7, 11), filters=128, kernel=(3, 1), pads=(1, 0, 1, 0), zero=3)
    for seed in (0, 1, 9):
        configure(Gpu(order=seed))
        check(case, KINDS[type(tile)])
    configure()


def test_rows_have_each_filter_once() -> None:
    assert sorted(order(64)) == list(range(64))


@pytest.mark.parametrize(
    ("kind", "sizes", "message"),
    [
        (MatrixTile, (16, 64, 8, 16), "multiples of 8 pixels and 32 filters"),
        (MatrixTile, (16, 64, 12, 32), "do not divide"),
        (WmmaTile, (16, 64, 8, 16), "multiples of 16 pixels and 16 filters"),
        (TALL, (16, 64, 8, 16), "multiples of 8 pixels and 32 filters"),
    ],
)
def test_schedules_check_themselves(kind: Kind, sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(*sizes)
