"""Convolutions whose sums are of several blocks of threads: bytes to the bit, floats alike in every run."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.implicit_gemm import GEMM, ImplicitGemm
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile, WmmaTile
from secateur.codegen.backends.cuda.primitives import PRIMITIVES
from secateur.codegen.backends.cuda.tile import Tile
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.primitives.conv.adapter import forget
from secateur.codegen.primitives.specs import ConvSpec
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.elementwise import Step
from secateur.ir.types import DType

from ....sampled import sampled, sampled_rows
from ...generic_harness import operator, rand
from ...linear_harness import conv_case
from ...primitives.conv.test_half import bound, conv
from ...simt.emulator import Gpu, configure
from .harness import choices, run
from .test_half import check as check_half
from .test_implicit_gemm import attributes
from .test_winograd_floats import made

ORIN, XAVIER, NANO = (GPUS[f"jetson-{name}"] for name in ("orin", "xavier", "nano"))
TILES: dict[str, tuple[Tile, Target]] = {
    "dots": (Tile(16, 16, 1, 4, 1, 4), XAVIER),
    "no dots": (Tile(16, 16, 1, 4, 2, 3), NANO),
    "matrix": (MatrixTile(16, 32, 16, 32, 2, 5), ORIN),
    "wide matrix": (WmmaTile(16, 32, 16, 32, 1, 2), XAVIER),
}
CASES: list[dict[str, Any]] = [
    {"shape": (2, 60, 7, 9), "filters": 20, "kernel": (3, 3), "pads": (1, 0, 2, 1), "strides": (2, 1),
     "zero": 255, "result_zero": 13, "residual": True, "residual_zero": 3},
    {"shape": (1, 160, 5, 3), "filters": 40, "kernel": (1, 5), "pads": (0, 2, 0, 2), "real": True,
     "zero": 128},
    {"shape": (3, 320, 3, 3), "filters": 32, "kernel": (1, 1), "limits": (0, 200)},
]  # fmt: skip


def fixed(patch: pytest.MonkeyPatch, tile: Tile) -> None:
    patch.setattr(ImplicitGemm, "tile", lambda *_: tile)
    forget()


def check(case: Any, target: Target) -> None:
    op, arrays = case
    wanted = interpreter.evaluate(op, arrays)[0]
    for choice in choices(op, target, "implicit_gemm"):
        assert choice.workspace
        np.testing.assert_array_equal(run(op, arrays, target, choice), wanted)


@pytest.mark.parametrize(
    ("name", "seed"),
    sampled_rows(
        product(TILES, range(len(CASES))), lambda name, seed: ([*TILES].index(name) + seed) % 2 == 0
    ),
)
def test_bytes_to_the_bit(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By parts that are equal, and whose last is shorter."""
    tile, target = TILES[name]
    fixed(monkeypatch, tile)
    check(conv_case(seed, **CASES[seed]), target)


@pytest.mark.parametrize("value", [-128, 127])
@pytest.mark.parametrize("name", TILES)
def test_extremes_do_not_saturate(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tile, target = TILES[name]
    fixed(monkeypatch, tile)
    w = np.full((32, 96, 3, 3), value, np.int8)
    check(conv_case(1, (1, 96, 4, 4), 32, (3, 3), w=w, x=np.full((1, 96, 4, 4), 255, np.uint8)), target)


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(TILES, ["dots", "matrix"]))
def test_every_order_of_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tile, target = TILES[name]
    fixed(monkeypatch, tile)
    for order in (0, 1, 7):
        configure(Gpu(order=order))
        check(conv_case(4, (1, 64, 6, 7), 48, (3, 3), pads=(1, 1, 1, 1), zero=9), target)
    configure()


SHAPES: list[dict[str, Any]] = [
    {"x": (2, 35, 7, 9), "w": (20, 35, 3, 3), "pads": [1, 0, 2, 1], "strides": [2, 1]},
    {"x": (1, 64, 5, 5), "w": (32, 64, 1, 1)},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s["w"])))
def test_floats(shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums have one order, whatever the threads'."""
    fixed(monkeypatch, Tile(16, 16, 1, 4, 1, 3))
    arrays = [rand(*shape["x"]), rand(*shape["w"]), rand(shape["w"][0], 1, 1)]
    op = operator("conv", arrays, attributes(shape) | {"epilogue": (Step("add"), Step("relu"))}, [1, 2])
    wanted = interpreter.evaluate(op, arrays)[0]
    choice = choices(op, XAVIER, "implicit_gemm")[0]
    found = run(op, arrays, XAVIER, choice)
    np.testing.assert_allclose(found, wanted, 1e-4, 1e-4)
    configure(Gpu(order=5))
    np.testing.assert_array_equal(run(op, arrays, XAVIER, choice), found)
    configure()


def test_pairs_of_binary16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are in float32; the result is rounded once."""
    fixed(monkeypatch, Tile(16, 16, 1, 4, 1, 3))
    op, arrays = conv((2, 35, 7, 9), (20, 35, 3, 3), (2, 1), (1, 0, 2, 1), residual=True)
    check_half(op, arrays, "half_implicit_gemm", bound(op, arrays))


DEEP = ConvSpec(1, 512, 7, 7, 512, (3, 3), pads=(1, 1, 1, 1), in_layout="NCHW4c", out_layout="NCHW4c")


def test_sums_are_parted_where_multiprocessors_would_be_idle() -> None:
    """16 tiles of 512 filters for 16 multiprocessors, of which each could hold several."""
    spec = DEEP
    tile = GEMM.tile(spec, ORIN)
    assert tile is not None
    assert tile.splits > 1
    assert GEMM.workspace(spec, ORIN) == 4 * tile.splits * 49 * 512
    assert GEMM.estimate(spec, ORIN) < 0.6 * GEMM.estimate(replace(spec, workspace_limit=0), ORIN)


@pytest.mark.parametrize("name", ["jetson-orin", "cuda-sm_75"])
def test_parted_and_whole_sums_are_both_offered(name: str) -> None:
    """Where memory is short, selection has those that take none, however slow they are."""
    shapes = {"image": (1, 512, 7, 7), "weights": (512, 512, 3, 3)}
    op, _ = made(DType.F32, **shapes, pads=(1, 1, 1, 1))
    parted, whole = choices(op, GPUS[name], "implicit_gemm")
    assert (parted.workspace > 0, whole.workspace) == (True, 0)
    assert parted.seconds < whole.seconds
    for choice, count in ((parted, 2), (whole, 1)):
        chosen = chosen_as(op, choice)
        assert len(PRIMITIVES.find(chosen).stages(chosen, GPUS[name])) == count


def test_without_room_sums_are_whole() -> None:
    tile = GEMM.tile(replace(DEEP, workspace_limit=4 * 2 * 49 * 512), ORIN)
    assert tile is not None
    assert tile.splits == 2
    whole = GEMM.tile(replace(DEEP, workspace_limit=0), ORIN)
    assert whole is not None
    assert whole.splits == 1


def test_full_gpus_part_nothing() -> None:
    tile = GEMM.tile(replace(DEEP, height=56, width=56), ORIN)
    assert tile is not None
    assert tile.splits == 1
