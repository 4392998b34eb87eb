"""Convolutions of GPUs by blocks of threads: bytes to the bit, floats within rounding, in every tile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.implicit_gemm import GEMM, ImplicitGemm
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile, WmmaTile
from secateur.codegen.backends.cuda.tile import Tile, Work, candidates
from secateur.codegen.backends.cuda.winograd import products
from secateur.codegen.primitives.conv.int8_spec import LinearSpec
from secateur.codegen.primitives.specs import ConvSpec, HalfConvSpec
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter

from ....sampled import sampled
from ...generic_harness import operator, rand
from ...linear_harness import conv_case
from ...primitives.conv.test_linear_winograd import layer
from ...simt.emulator import Gpu, configure
from .harness import choices, run

XAVIER, NANO = GPUS["jetson-xavier"], GPUS["jetson-nano"]

SHAPES: list[dict[str, Any]] = [
    {"x": (1, 16, 6, 5), "w": (16, 16, 3, 3), "pads": [1, 1, 1, 1]},
    {"x": (2, 35, 7, 9), "w": (20, 35, 3, 3), "pads": [1, 0, 2, 1], "strides": [2, 1]},
    {"x": (1, 64, 5, 5), "w": (96, 64, 1, 1)},
    {"x": (1, 32, 9, 11), "w": (8, 32, 5, 3), "pads": [2, 3, 2, 3], "dilations": [2, 3]},
    {"x": (1, 3, 12, 12), "w": (64, 3, 7, 7), "pads": [3, 3, 3, 3], "strides": [2, 2]},
]


def attributes(shape: dict[str, Any]) -> dict[str, Any]:
    plain = {"pads": [0, 0, 0, 0], "strides": [1, 1], "dilations": [1, 1]}
    given = plain | {k: v for k, v in shape.items() if k not in "xw"}
    return {name: tuple(value) for name, value in given.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s["w"])))
def test_floats(shape: dict[str, Any]) -> None:
    arrays = [rand(*shape["x"]), rand(*shape["w"])]
    op = operator("conv", arrays, attributes(shape), [1])
    wanted = interpreter.evaluate(op, arrays)[0]
    for choice in choices(op, XAVIER, "implicit_gemm"):
        np.testing.assert_allclose(run(op, arrays, XAVIER, choice), wanted, 1e-4, 1e-4)


BYTES: list[dict[str, Any]] = [
    {"shape": (1, 16, 6, 5), "filters": 16, "kernel": (3, 3), "pads": (1, 1, 1, 1), "zero": 7},
    {"shape": (2, 40, 7, 9), "filters": 20, "kernel": (3, 3), "pads": (1, 0, 2, 1), "strides": (2, 1),
     "zero": 255, "result_zero": 13, "residual": True, "residual_zero": 3},
    {"shape": (1, 64, 5, 5), "filters": 96, "kernel": (1, 1), "limits": (0, 200)},
    {"shape": (1, 33, 9, 11), "filters": 7, "kernel": (5, 3), "pads": (2, 3, 2, 3), "dilations": (2, 3),
     "real": True, "zero": 128},
]  # fmt: skip


@pytest.mark.parametrize("target", [XAVIER, NANO], ids=lambda t: t.name)
@pytest.mark.parametrize("seed", range(len(BYTES)))
def test_bytes_to_the_bit(seed: int, target: Target) -> None:
    """With `dp4a` and without."""
    op, arrays = conv_case(seed, **BYTES[seed])
    wanted = interpreter.evaluate(op, arrays)[0]
    for choice in choices(op, target, "implicit_gemm"):
        np.testing.assert_array_equal(run(op, arrays, target, choice), wanted)


TILES = sorted(set(candidates(128, 2, XAVIER.cuda.architecture)), key=str)


@pytest.mark.slow
@pytest.mark.parametrize("tile", sampled(TILES, TILES[::6]), ids=str)
def test_every_tile_in_every_order_of_threads(tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing barrier shows where fibers run in another order."""
    monkeypatch.setattr(ImplicitGemm, "tile", lambda *_: tile)
    op, arrays = conv_case(5, (1, 32, 13, 11), filters=128, kernel=(3, 3), pads=(1, 1, 1, 1), zero=3)
    wanted = interpreter.evaluate(op, arrays)[0]
    for order in (0, 1, 9):
        configure(Gpu(order=order))
        for choice in choices(op, XAVIER, "implicit_gemm"):
            np.testing.assert_array_equal(run(op, arrays, XAVIER, choice), wanted)
    configure()


def test_extremes_do_not_saturate() -> None:
    """255 times -128 and 127 in every tap: sums are exact."""
    for value in (-128, 127):
        w = np.full((16, 32, 3, 3), value, np.int8)
        op, arrays = conv_case(1, (1, 32, 4, 4), 16, (3, 3), w=w, x=np.full((1, 32, 4, 4), 255, np.uint8))
        wanted = interpreter.evaluate(op, arrays)[0]
        for choice in choices(op, XAVIER, "implicit_gemm"):
            np.testing.assert_array_equal(run(op, arrays, XAVIER, choice), wanted)


def test_time_has_a_step_where_every_multiprocessor_has_a_block_more() -> None:
    tile = Tile(64, 64, 8, 4)
    times = [Work(64 * blocks, 64, 1000, 64.0, 0.0).seconds(tile, XAVIER) for blocks in range(1, 33)]
    waves = [set(times[at : at + 8]) for at in range(0, 32, 8)]
    assert [len(wave) for wave in waves] == [1, 1, 1, 1]
    assert times[8] < times[16] < times[24]


STAIRS = {"jetson-nano": (ConvSpec, 4), "jetson-tx2": (HalfConvSpec, 8), "jetson-xavier": (LinearSpec, 16)}


@pytest.mark.parametrize("name", STAIRS)
def test_time_is_a_staircase_of_filters(name: str) -> None:
    """Flat up to a whole tile, then a step, as Radu et al. (2019) measured on Jetsons; it never falls."""
    kind, block = STAIRS[name]
    layouts: dict[str, Any] = {"in_layout": f"NCHW{block}c", "out_layout": f"NCHW{block}c"}
    specs = [
        kind(1, 128, 28, 28, filters, (3, 3), pads=(1, 1, 1, 1), **layouts) for filters in range(16, 257)
    ]
    times = [GEMM.estimate(spec, GPUS[name]) for spec in specs]
    steps = [16 + at for at in range(1, len(times)) if times[at] != times[at - 1]]
    assert times == sorted(times)
    assert 4 <= len(steps) <= 12
    assert all(step % 16 == 1 for step in steps)


FULLER = {  # than 72 filters
    "jetson-nano": Tile(16, 32, 2, 4),
    "cuda-sm_61": Tile(16, 64, 4, 4),
    "jetson-xavier": WmmaTile(16, 64, 16, 16),
    "jetson-orin": MatrixTile(16, 64, 16, 32),
}


@pytest.mark.parametrize("name", FULLER)
def test_filters_that_fill_no_tile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those past the last one are neither read nor stored."""
    monkeypatch.setattr(ImplicitGemm, "tile", lambda *_: FULLER[name])
    monkeypatch.setattr(products, "tile_of", lambda *_: FULLER[name])
    made = {
        "implicit_gemm": conv_case(1, (1, 16, 5, 4), 72, (1, 1), zero=3),
        "few_channels": conv_case(2, (1, 3, 5, 4), 72, (3, 3), zero=3),
        "winograd_staged": layer((1, 16, 5, 6), 72, (2, 2), zero=3),
    }
    for way, (op, arrays) in made.items():
        wanted = interpreter.evaluate(op, arrays)[0]
        (choice,) = choices(op, GPUS[name], way)
        np.testing.assert_array_equal(run(op, arrays, GPUS[name], choice), wanted)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(lambda: Tile(64, 64, 7, 4), "do not divide"), (lambda: Tile(64, 64, 8, 2), "filters are no vectors")],
)
def test_tiles_check_themselves(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
