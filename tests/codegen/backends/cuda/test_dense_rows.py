"""Dense layers of many rows, multiplied as convolutions of one pixel are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.implicit_gemm import ImplicitGemm
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile, WmmaTile
from secateur.codegen.backends.cuda.tile import Tile
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter

from ...linear_harness import matmul_case
from ...primitives.conv.test_half import bound
from .harness import choices, run
from .test_dense import floats

ORIN, XAVIER, NANO = (GPUS[f"jetson-{name}"] for name in ("orin", "xavier", "nano"))
BYTES: dict[str, tuple[Target, Tile, dict[str, Any]]] = {
    "mma": (ORIN, MatrixTile(16, 32, 16, 32, 1), {"outputs": 52, "zero": 255, "result_zero": 13}),
    "copied, of parts": (ORIN, MatrixTile(8, 64, 8, 32, 1, 2, depth=3), {"outputs": 36, "limits": (0, 200)}),
    "wmma": (XAVIER, WmmaTile(32, 32, 16, 16, 1), {"outputs": 20, "zero": 9, "real": True}),
    "words": (NANO, Tile(16, 16, 1, 4), {"outputs": 12, "zero": 77}),
}


def fixed(patch: pytest.MonkeyPatch, tile: Tile) -> None:
    patch.setattr(ImplicitGemm, "tile", lambda *_: tile)


@pytest.mark.parametrize("name", BYTES)
def test_bytes_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, tile, shape = BYTES[name]
    fixed(monkeypatch, tile)
    op, arrays = matmul_case(0, 9, 112, **shape)
    (choice, *_) = choices(op, target, "dense_gemm")
    wanted = interpreter.evaluate(op, arrays)[0]
    np.testing.assert_array_equal(run(op, arrays, target, choice), wanted)


@pytest.mark.parametrize("splits", [1, 2])
def test_floats(splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a factor for each output, a residual and a ReLU."""
    fixed(monkeypatch, Tile(16, 16, 1, 4, splits=splits))
    op, arrays = floats((9, 36, 20))
    (choice, *_) = choices(op, XAVIER, "dense_gemm")
    wanted = interpreter.evaluate(op, arrays)[0]
    np.testing.assert_allclose(run(op, arrays, XAVIER, choice), wanted, 1e-4, 1e-3)


def test_pairs_of_binary16(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, Tile(16, 16, 1, 4))
    op, arrays = floats((9, 40, 12), half=True)
    (choice, *_) = choices(op, NANO, "half_dense_gemm")
    off = np.abs(run(op, arrays, NANO, choice).astype(np.float64) - interpreter.evaluate(op, arrays)[0])
    assert (off <= bound(op, arrays)).all()


@pytest.mark.parametrize("shape", [(7, 64, 32), (8, 63, 32), (8, 64, 30)])
def test_few_or_odd_rows_are_refused(shape: tuple[int, int, int]) -> None:
    """So many rows, inputs, outputs."""
    for op, name in ((matmul_case(0, *shape)[0], "dense_gemm"), (floats(shape)[0], "dense_gemm")):
        assert not choices(op, ORIN, name)


@pytest.mark.parametrize("name", ["jetson-xavier", "jetson-orin", "cuda-sm_90"])
def test_the_model_prefers_them_where_weights_were_read_twice(name: str) -> None:
    def seconds(rows: int) -> dict[str, float]:
        made = choices(matmul_case(0, rows, 4096, 1000)[0], GPUS[name])
        return {choice.primitive: choice.seconds for choice in reversed(made)}

    few, many = seconds(8), seconds(64)
    assert few["dense_blocks"] < 1.3 * few["dense_gemm"]
    assert many["dense_gemm"] < 0.6 * many["dense_blocks"]


def test_memory_decides_whether_sums_are_of_parts() -> None:
    """For few outputs of long sums there are several blocks of threads, where there is room."""
    op, _ = matmul_case(0, 8, 16384, 64)
    found = choices(op, ORIN, "dense_gemm")
    assert [choice.workspace > 0 for choice in found] == [True, False]
    assert found[0].seconds < found[1].seconds
