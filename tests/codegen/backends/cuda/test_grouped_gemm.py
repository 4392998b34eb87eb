"""Grouped convolutions by blocks of threads: bytes to the bit, floats and binary16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.grouped_gemm import GroupedGemm
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile, WmmaTile
from secateur.codegen.backends.cuda.tile import Tile
from secateur.codegen.primitives.conv.adapter import forget
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.types import DType

from ....sampled import sampled
from ...linear_harness import conv_case
from ...primitives.conv.test_half import SAME, bound
from .harness import choices, run
from .test_ptxas import ASSEMBLER, built, kernels
from .test_winograd_floats import made

ORIN, XAVIER, NANO = (GPUS[f"jetson-{name}"] for name in ("orin", "xavier", "nano"))
TILES: dict[str, tuple[Tile, Target]] = {
    "dots": (Tile(16, 16, 1, 4), XAVIER),
    "no dots": (Tile(16, 32, 2, 4), NANO),
    "matrix": (MatrixTile(16, 32, 16, 32), ORIN),
    "deep matrix": (MatrixTile(16, 32, 16, 32, 1, depth=3), ORIN),
    "wide matrix": (WmmaTile(16, 32, 16, 32), XAVIER),
    "tall matrix": (WmmaTile(16, 64, 8, 32, tall=True), XAVIER),
}
CASES: list[dict[str, Any]] = [  # groups that share blocks, that share tiles, and that have several of both
    {"shape": (2, 24, 7, 9), "filters": 36, "groups": 4, "kernel": (3, 3), "pads": (1, 0, 2, 1),
     "strides": (2, 1), "zero": 255, "result_zero": 13, "residual": True, "residual_zero": 3},
    {"shape": (1, 160, 5, 3), "filters": 40, "groups": 5, "kernel": (1, 3), "pads": SAME, "real": True,
     "zero": 128},
    {"shape": (3, 96, 4, 4), "filters": 192, "groups": 2, "kernel": (1, 1), "limits": (0, 200)},
]  # fmt: skip


@pytest.mark.parametrize("seed", range(len(CASES)))
@pytest.mark.parametrize("name", sampled(TILES, ["no dots", "deep matrix", "tall matrix"]))
def test_bytes_to_the_bit(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tile, target = TILES[name]
    monkeypatch.setattr(GroupedGemm, "tile", lambda *_: tile)
    forget()
    op, arrays = conv_case(seed, **CASES[seed])
    wanted = interpreter.evaluate(op, arrays)[0]
    (choice,) = choices(op, target, "grouped_gemm")
    np.testing.assert_array_equal(run(op, arrays, target, choice), wanted)


@pytest.mark.parametrize(("channels", "filters", "groups"), [(24, 36, 4), (20, 10, 10)])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F16], ids=lambda d: d.value)
def test_floats(dtype: DType, channels: int, filters: int, groups: int) -> None:
    op, arrays = made(
        dtype,
        image=(2, channels, 5, 7),
        weights=(filters, channels // groups, 3, 3),
        pads=SAME,
        groups=groups,
        residual=True,
    )
    wanted, half = interpreter.evaluate(op, arrays)[0], dtype == DType.F16
    (choice,) = choices(op, NANO, f"{'half_' if half else ''}grouped_gemm")
    off = np.abs(run(op, arrays, NANO, choice).astype(np.float64) - wanted)
    assert (off <= (bound(op, arrays) + 2.0**-14 if half else 1e-4)).all()


def resnext(channels: int = 512, extent: int = 14) -> Any:
    """A layer of ResNeXt-50."""
    shape = (1, channels, extent, extent)
    return conv_case(1, shape, channels, (3, 3), groups=32, pads=SAME, zero=3)[0]


@pytest.mark.parametrize("target", [NANO, XAVIER, ORIN], ids=lambda t: t.name)
def test_the_model_prefers_it(target: Target) -> None:
    best = min(choices(resnext(), target), key=lambda choice: choice.seconds)
    assert best.primitive == "grouped_gemm"


@pytest.mark.skipif(ASSEMBLER is None, reason="needs ptxas: pip install -e '.[cuda]'")
@pytest.mark.parametrize("name", sampled(["jetson-nano", "jetson-xavier", "jetson-orin"], ["jetson-orin"]))
def test_nothing_is_spilled(name: str, tmp_path: Path) -> None:
    for channels, extent in ((128, 56), (1024, 7)):
        (kernel,) = kernels(resnext(channels, extent), GPUS[name], "grouped_gemm")
        tile: Tile = kernel.spec.tile  # type: ignore[attr-defined]
        report, _ = built(kernel, GPUS[name], tmp_path)
        assert report.spilled == 0
        assert report.registers <= tile.registers
        assert report.shared == tile.shared_bytes


def test_other_convolutions_are_refused() -> None:
    for groups in (1, 32):
        op, _ = conv_case(1, (1, 32, 8, 8), 32, (3, 3), groups=groups)
        assert not choices(op, XAVIER, "grouped_gemm")
