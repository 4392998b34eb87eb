"""Matrix products by matrix instructions: the interpreter's bits, in every schedule and order of threads."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.implicit_gemm import PRIMITIVES, ImplicitGemm
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile, matrix_candidates, order
from secateur.codegen.backends.cuda.winograd import products
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter

from ...linear_harness import conv_case
from ...primitives.conv.test_linear_winograd import layer
from ...simt.emulator import Gpu, configure
from .harness import choices, run

ORIN = GPUS["jetson-orin"]
TILES = sorted(set(matrix_candidates(128, 4, ORIN.cuda.architecture)), key=str)
CASES: list[dict[str, Any]] = [
    {"shape": (2, 40, 7, 9), "filters": 60, "kernel": (3, 3), "pads": (1, 0, 2, 1), "strides": (2, 1),
     "zero": 255, "result_zero": 13, "residual": True, "residual_zero": 3},
    {"shape": (1, 64, 5, 5), "filters": 96, "kernel": (1, 1), "limits": (0, 200)},
    {"shape": (1, 33, 9, 11), "filters": 31, "kernel": (3, 3), "dilations": (2, 3), "pads": (2, 3, 2, 3),
     "real": True, "zero": 128},
]  # fmt: skip


def check(case: Any) -> None:
    op, arrays = case
    name = "implicit_gemm" if op.name == "q.linear_conv" else "winograd_staged"
    wanted = interpreter.evaluate(op, arrays)[0]
    for choice in choices(op, ORIN, name):
        np.testing.assert_array_equal(run(op, arrays, ORIN, choice), wanted)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule of one warp, of either depth of the instruction."""

    def tile(self: ImplicitGemm, spec: Any, target: Any) -> MatrixTile:
        return MatrixTile(16, 32, 16, 32, 1 if self.blocks(spec, target) % 2 else 2)

    monkeypatch.setattr(ImplicitGemm, "tile", tile)


@pytest.mark.parametrize("seed", range(len(CASES)))
@pytest.mark.usefixtures("small")
def test_bytes_to_the_bit(seed: int) -> None:
    check(conv_case(seed, **CASES[seed]))


@pytest.mark.parametrize("value", [-128, 127])
@pytest.mark.usefixtures("small")
def test_extremes_do_not_saturate(value: int) -> None:
    w = np.full((32, 32, 3, 3), value, np.int8)
    check(conv_case(1, (1, 32, 4, 4), 32, (3, 3), w=w, x=np.full((1, 32, 4, 4), 255, np.uint8)))


@pytest.mark.parametrize("tile", [(2, 2), (4, 2), (4, 4)])
def test_winograd(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed bytes on both sides, with the extremes."""
    monkeypatch.setattr(products, "tile_of", lambda *_: MatrixTile(8, 32, 8, 32, 1))
    check(layer((1, 48, 6, 7), 60, tile, zero=3, residual=True))
    check(layer((1, 16, 4, 4), 32, tile, zero=255, extreme=-1))


def test_jetson_orin_chooses_them_where_filters_come_by_32() -> None:
    op, _ = conv_case(1, (1, 64, 56, 56), 64, (3, 3), pads=(1, 1, 1, 1))
    (primitive,) = (p for p in PRIMITIVES if "linear_conv" in p.operators)
    for target, kind in (("jetson-orin", True), ("jetson-xavier", False)):
        tile = primitive.primitive.tile(primitive.spec(op), GPUS[target])
        assert isinstance(tile, MatrixTile) == kind


@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_schedule_in_every_order_of_threads(tile: MatrixTile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImplicitGemm, "tile", lambda *_: tile)
    case = conv_case(5, (1, 64, 7, 11), filters=128, kernel=(3, 1), pads=(1, 0, 1, 0), zero=3)
    for seed in (0, 1, 9):
        configure(Gpu(order=seed))
        check(case)
    configure()


def test_rows_have_each_filter_once() -> None:
    assert sorted(order(MatrixTile(8, 64, 8, 32))) == list(range(64))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((16, 64, 8, 16), "multiples of 8 pixels and 32 filters"), ((16, 64, 12, 32), "do not divide")],
)
def test_schedules_check_themselves(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        MatrixTile(*sizes)
