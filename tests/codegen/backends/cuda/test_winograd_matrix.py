"""One kernel of a Winograd convolution by matrix instructions: the interpreter's bits, by every schedule."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.winograd import fused, slots
from secateur.codegen.backends.cuda.winograd.fused_matrix_tile import MatrixFusedTile, WmmaFusedTile
from secateur.codegen.backends.cuda.winograd.fused_schedules import candidates
from secateur.codegen.backends.cuda.winograd.operands import layer_of
from secateur.codegen.backends.cuda.winograd.tile_order import TileOrder
from secateur.codegen.primitives.conv.adapter import forget
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter

from ....sampled import sampled, sampled_rows, whole
from ...primitives.conv.test_linear_winograd import TILES, layer
from ...simt.emulator import Gpu, configure
from .harness import choices, run

ORIN, XAVIER = GPUS["jetson-orin"], GPUS["jetson-xavier"]
POSITIONS = {(2, 2): 16, (4, 2): 24, (2, 4): 24, (4, 4): 36}
Schedule = MatrixFusedTile | WmmaFusedTile
Kind = Callable[..., Schedule]


def check(
    patch: pytest.MonkeyPatch,
    schedule: Schedule,
    tile: tuple[int, int],
    shape: Any,
    filters: int,
    **more: Any,
) -> None:
    patch.setattr(fused, "schedule", lambda *_: schedule)
    forget()
    target = XAVIER if isinstance(schedule, WmmaFusedTile) else ORIN
    op, arrays = layer(shape, filters, tile, **more)
    (choice,) = choices(op, target, "winograd_fused")
    np.testing.assert_array_equal(run(op, arrays, target, choice), interpreter.evaluate(op, arrays)[0])


def small(tile: tuple[int, int], kind: Kind = MatrixFusedTile, tiles: int = 16, step: int = 1) -> Any:
    warps = {16: 4, 24: 6, 36: 12}[POSITIONS[tile]]
    return kind(POSITIONS[tile], tiles, 32, tiles, 32, warps, 4, step)


TALL = partial(WmmaFusedTile, tall=True)


CASES: list[tuple[Any, tuple[int, int], dict[str, Any]]] = [
    (small((2, 2), tiles=8), (2, 2), {"shape": (1, 20, 9, 11), "filters": 32, "zero": 7}),
    (small((2, 4), step=2), (2, 4), {"shape": (2, 64, 7, 7), "filters": 60, "zero": 255, "residual": True}),
    (small((4, 2)), (4, 2), {"shape": (1, 16, 3, 3), "filters": 31, "pads": (0, 0, 0, 0), "result": None}),
    (small((2, 2), WmmaFusedTile), (2, 2), {"shape": (3, 33, 5, 8), "filters": 32, "residual": True}),
    (small((2, 4), TALL, 8), (2, 4), {"shape": (2, 33, 5, 9), "filters": 64, "residual": True, "zero": 200}),
    (small((2, 2), TALL), (2, 2), {"shape": (1, 16, 9, 11), "filters": 31, "zero": 3}),
    (small((4, 2), WmmaFusedTile), (4, 2), {"shape": (2, 16, 6, 7), "filters": 57, "pads": (0, 1, 2, 0)}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_bits_where_tiles_leave_the_result(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, tile, options = CASES[case]
    check(monkeypatch, schedule, tile, **options)


@pytest.mark.parametrize(
    ("kind", "sign", "zero"),
    sampled_rows(
        [(kind, *ends) for kind in (MatrixFusedTile, WmmaFusedTile, TALL) for ends in ((1, 0), (-1, 255))],
        lambda kind, sign, _: (kind is WmmaFusedTile) == (sign > 0),
    ),
)
def test_extremes(kind: Kind, sign: int, zero: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, small((2, 2), kind), (2, 2), (1, 32, 8, 8), 32, zero=zero, extreme=sign)


def schedules() -> list[tuple[tuple[int, int], Schedule]]:
    found = []
    for tile, target in product(TILES, (ORIN, XAVIER)):
        op, _ = layer((1, 64, 64, 64), 128, tile)
        known = candidates(layer_of(op, target), target.cuda.architecture)
        found += [(tile, schedule) for schedule in known if isinstance(schedule, MatrixFusedTile)]
    return found


SCHEDULES = schedules()
STAY = [row for row in SCHEDULES if row[0] == (2, 2) and row[1].tiles * row[1].filters <= 1024][::3]


@pytest.mark.slow
@pytest.mark.examples
@pytest.mark.parametrize("row", sampled(SCHEDULES, [*STAY, SCHEDULES[-1]]), ids=str)
def test_every_schedule_in_every_order_of_threads(row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing barrier shows where fibers run in another order."""
    tile, schedule = row
    for order in (0, 1, 5) if whole() else (1, 5):
        configure(Gpu(order=order))
        filters = min(2 * schedule.filters, 128)  # several blocks of them
        check(monkeypatch, schedule, tile, (2, 32, 13, 10), filters, zero=9, residual=True)
    configure()


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled(range(8), [2]))
def test_random_layers(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = np.random.default_rng(seed)
    shape = [int(choose.integers(1, 4)), int(choose.integers(3, 80)), *map(int, choose.integers(3, 19, 2))]
    options = {
        "pads": tuple(int(p) for p in choose.integers(0, 2, 4)),
        "zero": int(choose.integers(0, 256)),
        "residual": bool(seed % 2),
    }
    tile, kind = TILES[seed % 4], (MatrixFusedTile, WmmaFusedTile, TALL)[seed // 2 % 3]
    filters = 32 * int(choose.integers(1, 4)) - int(choose.integers(0, 16))
    tiles = 8 if kind is TALL else 16
    check(monkeypatch, small(tile, kind, tiles), tile, tuple(shape), filters, **options)


@pytest.mark.parametrize("extent", [(1, 1), (4, 4), (7, 7), (14, 13), (12, 7)])
@pytest.mark.parametrize("tile", TILES)
def test_what_needs_a_position_is_a_range(tile: tuple[int, int], extent: tuple[int, int]) -> None:
    """As long as the staged kernels number."""
    op, _ = layer((3, 16, *extent), 16, tile)
    known = layer_of(op, ORIN)
    order = TileOrder(known)
    assert known.ends[-1] == known.tiles
    for position in range(known.positions):
        start, end = order.range_of(position)
        assert max(0, end - start) == slots.count(known, position)


def test_boards_choose_what_they_have() -> None:
    op, _ = layer((1, 64, 56, 56), 64, (4, 4))
    for target, kind in ((ORIN, MatrixFusedTile), (XAVIER, WmmaFusedTile)):
        assert type(fused.schedule(layer_of(op, target), target)) is kind
        (staged,) = choices(op, target, "winograd_staged")
        (whole,) = choices(op, target, "winograd_fused")
        assert whole.seconds < staged.seconds


@pytest.mark.parametrize(
    ("kind", "sizes", "message"),
    [
        (MatrixFusedTile, (16, 12, 32, 12, 32, 8), "multiples of 8 tiles and 32 filters"),
        (WmmaFusedTile, (16, 8, 16, 8, 16, 8), "multiples of 16 tiles and 16 filters"),
        (TALL, (16, 8, 16, 8, 16, 8), "multiples of 8 tiles and 32 filters"),
        (MatrixFusedTile, (16, 8, 32, 4, 32, 8), "all tiles and filters"),
        (MatrixFusedTile, (36, 8, 32, 8, 32, 8), "different numbers of positions"),
    ],
)
def test_schedules_check_themselves(kind: Any, sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(*sizes)
