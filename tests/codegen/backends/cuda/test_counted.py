"""What int8 kernels of GPUs multiply: as counted in the emulator, and on the layers of ResNet and VGG-16."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from secateur.codegen.backends.cuda.implicit_gemm import GEMM
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile
from secateur.codegen.backends.cuda.tile import Tile
from secateur.codegen.backends.cuda.winograd import fused, products
from secateur.codegen.backends.cuda.winograd.fused_matrix_tile import MatrixFusedTile, WmmaFusedTile
from secateur.codegen.backends.cuda.winograd.fused_schedules import fastest
from secateur.codegen.backends.cuda.winograd.fused_tile import FusedTile
from secateur.codegen.backends.cuda.winograd.layer import Layer
from secateur.codegen.backends.cuda.winograd.operands import layer_of
from secateur.codegen.primitives.conv.int8_spec import LinearSpec
from secateur.codegen.rounding import up
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target

from ...primitives.conv.test_linear_winograd import layer
from ...simt.emulator import stand_in
from .harness import choices, run

RESNET = ((64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 7))  # channels, filters, extent
VGG = (
    (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56), (256, 512, 28),
    (512, 512, 28), (512, 512, 14),
)  # fmt: skip
SHARES = {(2, 2): 0.48, (4, 4): 0.30}  # at most, of what direct convolution multiplies
DOTS = ("cuda-sm_61",)
MATRICES = ("jetson-orin", "jetson-orin-nano", "cuda-sm_80")
VOLTA = "jetson-xavier"


def words_of(op: Any, arrays: Any, target: Target, way: str) -> int:
    """That the emulator's threads multiply."""
    (choice,) = choices(op, target, way)
    before = stand_in().simt_products()
    run(op, arrays, target, choice)
    return int(stand_in().simt_products() - before)


TILES = {
    "four by four": Tile(16, 32, 4, 4),
    "of seven": Tile(49, 32, 7, 4),
    "matrix": MatrixTile(16, 32, 16, 32),
}


@pytest.mark.parametrize("name", TILES)
def test_lower_tiles_do_not_need_all_positions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """14 is 4 + 4 + 3 + 3: (2 * 6 + 2 * 5)^2 places of 16 * 36. Matrices of eight take four tiles for one."""
    monkeypatch.setattr(products, "tile_of", lambda *_: TILES[name])
    target = GPUS["jetson-orin"]
    op, arrays = layer((1, 16, 14, 14), 32, (4, 4))
    found = words_of(op, arrays, target, "winograd_staged")
    assert found == products.words_multiplied(layer_of(op, target), TILES[name])
    places = (2 * 6 + 2 * 5) ** 2 + (4 if name == "matrix" else 0)
    assert found == places * 32 * 4


WHOLE = {
    "dots": ("jetson-xavier", FusedTile(36, 16, 32, 4, 4, 12)),
    "matrix": ("jetson-orin", MatrixFusedTile(36, 16, 32, 16, 32, 12)),
    "wide matrix": ("jetson-xavier", WmmaFusedTile(36, 16, 32, 16, 32, 12)),
    "tall matrix": ("jetson-xavier", WmmaFusedTile(36, 8, 32, 8, 32, 12, tall=True)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_one_kernel_multiplies_what_its_schedule_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images of 7x7 are 16 tiles, of which 25 positions need all, 10 a half, and one a quarter.

    In blocks of eight, the half that five of them need is four tiles of each block.
    """
    target, tile = GPUS[WHOLE[name][0]], WHOLE[name][1]
    monkeypatch.setattr(fused, "schedule", lambda *_: tile)
    op, arrays = layer((4, 16, 7, 7), 32, (4, 4))
    found = words_of(op, arrays, target, "winograd_fused")
    parts = (*[8] * 5, *([4] * 10 if tile.tiles == 8 else [8] * 5), 4)
    places = 25 * 16 + sum(up(needed, tile.columns) for needed in parts)
    assert found == tile.words_multiplied(layer_of(op, target)) == places * 32 * 4


def sizes(batch: int, channels: int, filters: int, extent: int) -> LinearSpec:
    return LinearSpec(
        batch, channels, extent, extent, filters, (3, 3), pads=(1, 1, 1, 1),
        in_layout="NCHW16c", out_layout="NCHW16c", bias=True,
    )  # fmt: skip


def direct_words(spec: LinearSpec, target: Target) -> int:
    tile = GEMM.tile(replace(spec, bias=False), target)
    pixels = spec.batch * spec.pixels
    pixels = up(pixels, tile.columns) if isinstance(tile, MatrixTile) else pixels
    return pixels * spec.filters * spec.channels * 9 // 4


def staged_share(spec: LinearSpec, tile: tuple[int, int], target: Target) -> float:
    known = Layer(spec, tile, 0)
    schedule = products.tile_of(known, target)
    assert schedule is not None
    return products.words_multiplied(known, schedule) / direct_words(spec, target)


@pytest.mark.parametrize("batch", [1, 4, 8])
@pytest.mark.parametrize("name", [*DOTS, *MATRICES])
def test_three_kernels_multiply_at_most_their_share(name: str, batch: int) -> None:
    """A matrix instruction has 8 tiles: those of one image of 14x14 or 7x7 do not fill it."""
    target = GPUS[name]
    for channels, filters, extent in (*RESNET, *VGG):
        spec = sizes(batch, channels, filters, extent)
        if extent > 14 or name in DOTS or batch > 1:
            assert staged_share(spec, (4, 4), target) <= SHARES[4, 4] + (name in MATRICES) * 0.001, spec
        if extent > 14 or (extent > 7 and (name in DOTS or batch > 1)):
            assert staged_share(spec, (2, 2), target) <= SHARES[2, 2], spec


@pytest.mark.parametrize("batch", [1, 4, 8])
@pytest.mark.parametrize("name", [*DOTS, VOLTA, *MATRICES])
def test_one_kernel_multiplies_at_most_its_share(name: str, batch: int) -> None:
    """Of 7x7 results F(2,3) needs 225 products for 441. Eight tiles at once are no divisor of 12, 9 or 49."""
    target = GPUS[name]
    for channels, filters, extent in (*RESNET, *VGG):
        spec = sizes(batch, channels, filters, extent)
        for tile, share in SHARES.items():
            known = Layer(spec, tile, 0)
            schedule = fastest(known, target)
            assert schedule is not None
            if tile == (2, 2) and extent <= 14:
                share = (0.534 if name == VOLTA else 0.516) if extent == 7 else 0.498
            if tile == (4, 4) and extent == 14:
                share = 0.2934 if batch == 1 and schedule.columns > 1 else 0.2745
            assert schedule.words_multiplied(known) <= share * direct_words(spec, target), (spec, schedule)


def test_instructions_of_eight_tiles_cannot_do_with_less_for_one_image() -> None:
    """No shape of `mma` or `wmma` has fewer than eight, and positions have weights of their own.

    Of 14x14 they are needed by 49 tiles of F(2,3).
    """
    known = Layer(sizes(1, 256, 256, 14), (2, 2), 0)
    least = sum(up(needed, 8) for needed in products.counts(known))
    assert least == 16 * 56 > SHARES[2, 2] * up(196, 8) * 9
    found = fastest(known, GPUS[VOLTA])
    assert found is not None
    assert found.words_multiplied(known) == least * 256 * 256 // 4


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_dot_products_multiply_no_tile_for_nothing(batch: int) -> None:
    """F(4,3) needs 0.2744 on 14x14, and F(2,3) 0.5102 on 7x7."""
    target = GPUS["cuda-sm_61"]
    for channels, filters, extent in (*RESNET, *VGG):
        spec = sizes(batch, channels, filters, extent)
        for tile, share in SHARES.items():
            known = Layer(spec, tile, 0)
            schedule = fastest(known, target)
            assert schedule is not None
            least = sum(products.counts(known)) * filters * channels // 4
            assert schedule.words_multiplied(known) == least
            if (tile, extent) != ((2, 2), 7):
                assert least <= share * direct_words(spec, target)
