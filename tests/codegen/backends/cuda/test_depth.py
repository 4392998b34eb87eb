"""Steps of matrix products that are copied into shared memory while others are multiplied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda import matrix_gemm
from secateur.codegen.backends.cuda.implicit_gemm import ImplicitGemm
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile, WmmaTile
from secateur.codegen.backends.cuda.ptx.modules import build_module
from secateur.codegen.backends.cuda.tile import Tile, Work
from secateur.codegen.primitives.conv.adapter import forget
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter

from ....sampled import sampled
from ...linear_harness import conv_case
from ...simt.emulator import Gpu, configure
from .harness import choices, run
from .test_ptxas import kernels

ORIN = GPUS["jetson-orin"]
CASES: list[dict[str, Any]] = [
    {"shape": (2, 60, 7, 9), "filters": 20, "kernel": (3, 3), "pads": (1, 0, 2, 1), "strides": (2, 1),
     "zero": 255, "result_zero": 13, "residual": True, "residual_zero": 3},
    {"shape": (3, 320, 3, 3), "filters": 40, "kernel": (1, 1), "limits": (0, 200)},
    {"shape": (1, 16, 5, 6), "filters": 32, "kernel": (1, 2), "real": True, "zero": 128},
]  # fmt: skip
TILES = {
    "3 of one block": MatrixTile(16, 32, 16, 32, 1, depth=3),
    "4 of one block": MatrixTile(40, 64, 40, 32, 1, depth=4),
    "3 of parts": MatrixTile(8, 32, 8, 32, 1, 2, depth=3),
}


def check(patch: pytest.MonkeyPatch, tile: Tile, seed: int) -> None:
    patch.setattr(ImplicitGemm, "tile", lambda *_: tile)
    forget()
    op, arrays = conv_case(seed, **CASES[seed])
    wanted = interpreter.evaluate(op, arrays)[0]
    np.testing.assert_array_equal(run(op, arrays, ORIN, choices(op, ORIN, "implicit_gemm")[0]), wanted)


@pytest.mark.parametrize("seed", range(len(CASES)))
@pytest.mark.parametrize("name", TILES)
def test_bits(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more steps than lie in shared memory, and of fewer."""
    check(monkeypatch, TILES[name], seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(TILES, ["3 of one block"]))
def test_every_order_of_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the emulator a copy arrives as late as it may: when its group is waited for."""
    for order in (0, 1, 7):
        configure(Gpu(order=order))
        check(monkeypatch, TILES[name], 0)
    configure()


def test_what_is_not_waited_for_has_not_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_gemm, "wait_for_groups", lambda _: None)
    with pytest.raises(AssertionError):
        check(monkeypatch, MatrixTile(8, 32, 8, 32, 1, depth=4), 2)


def test_kernels_copy_past_the_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImplicitGemm, "tile", lambda *_: TILES["3 of one block"])
    op, _ = conv_case(0, **CASES[0])
    ptx = build_module(kernels(op, ORIN, "implicit_gemm")[0], "kernel", ORIN).code.decode()
    assert "cp.async.cg.shared.global" in ptx
    assert "cp.async.wait_group" in ptx


def test_more_steps_hide_more_latency_where_warps_are_few() -> None:
    work = Work(8, 64, 1000, 64.0, 0.0, matrix_rate=512.0)
    times = [work.seconds(MatrixTile(8, 64, 8, 32, 2, depth=depth), ORIN) for depth in (2, 3, 4)]
    assert times[0] > 1.5 * times[1] > 2 * times[2]


@pytest.mark.parametrize("kind", [Tile, WmmaTile])
def test_other_kernels_have_two(kind: type[Tile]) -> None:
    with pytest.raises(ValueError, match="has room for 2 steps"):
        kind(16, 64, 16, 16, depth=3)
