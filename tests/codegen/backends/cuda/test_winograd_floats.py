"""Winograd convolutions of floats on GPUs: within what is stated, and with every operand in registers."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.costs import GpuCosts
from secateur.codegen.backends.cuda.ptx.modules import build_module, ptx_head
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter
from secateur.ir.graph import Operator
from secateur.ir.types import DType

from ....sampled import sampled, sampled_rows
from ...generic_harness import operator
from ...primitives.conv.test_half import SAME, Array, bound, conv
from ...simt.emulator import Gpu, configure
from .harness import choices, run
from .test_ptxas import ASSEMBLER, MOST_REGISTERS, assembled, kernels

NANO, XAVIER = GPUS["jetson-nano"], GPUS["jetson-xavier"]
CASES: list[dict[str, Any]] = [
    {"image": (2, 19, 9, 7), "weights": (20, 19, 3, 3), "pads": (1, 0, 2, 1), "residual": True},
    {"image": (1, 8, 10, 6), "weights": (36, 8, 3, 3)},
]
GROWTH = {2: 2.0, 4: 4.0}  # of rounding errors in binary16, by the tile


def made(dtype: DType, **case: Any) -> tuple[Operator, list[Array]]:
    """A convolution with a bias, a residual or not, and a ReLU."""
    op, arrays = conv(**case)
    if dtype == DType.F16:
        return op, arrays
    attributes = {name: value for name, value in op.attributes.items() if name != "sums"}
    wide = [a.astype(np.float32) for a in arrays]
    return operator("conv", wide, attributes, [1, 2]), wide


def check(dtype: DType, tile: int, **case: Any) -> None:
    op, arrays = made(dtype, **case)
    half = dtype == DType.F16
    wanted = interpreter.evaluate(op, arrays)[0]
    atol = bound(op, arrays, GROWTH[tile]) + 2.0**-14 if half else 2e-5
    (choice,) = choices(op, NANO, f"{'half_' if half else ''}winograd{tile}_staged")
    off = np.abs(run(op, arrays, NANO, choice).astype(np.float64) - wanted)
    assert (off <= atol).all(), (off / atol).max()


@pytest.mark.parametrize(
    ("dtype", "tile", "case"),
    sampled_rows(
        product((DType.F32, DType.F16), (2, 4), range(len(CASES))),
        lambda dtype, tile, case: (tile // 2 + case) % 2 == (dtype == DType.F16),
    ),
)
def test_within_rounding(dtype: DType, tile: int, case: int) -> None:
    check(dtype, tile, **CASES[case])


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled(range(4), [1, 2]))
def test_random_layers_in_every_order_of_threads(seed: int) -> None:
    choose = np.random.default_rng(seed)
    channels, filters = map(int, choose.integers(3, 40, 2))
    case = {
        "image": (int(choose.integers(1, 3)), channels, *map(int, choose.integers(3, 15, 2))),
        "weights": (filters, channels, 3, 3),
        "pads": tuple(map(int, choose.integers(0, 2, 4))),
        "residual": bool(seed % 2),
    }
    for order in (0, 1, seed + 2):
        configure(Gpu(order=order))
        check((DType.F32, DType.F16)[seed % 2], (2, 4)[seed // 2], **case)
    configure()


def _stays(_: DType, tile: int, __: str) -> bool:
    """The larger tile fills more registers."""
    return tile == 4


@pytest.mark.skipif(ASSEMBLER is None, reason="needs ptxas: pip install -e '.[cuda]'")
@pytest.mark.parametrize(
    ("dtype", "tile", "name"),
    sampled_rows(product((DType.F32, DType.F16), (2, 4), ("jetson-nano", "jetson-orin")), _stays),
    ids=str,
)
def test_nothing_is_spilled_and_words_are_moved_whole(
    dtype: DType, tile: int, name: str, tmp_path: Path
) -> None:
    target = GPUS[name]
    op, _ = made(dtype, image=(1, 64, 28, 28), weights=(64, 64, 3, 3), pads=SAME, residual=True)
    half = dtype == DType.F16
    for kernel in kernels(op, target, f"{'half_' if half else ''}winograd{tile}_staged"):
        text = build_module(kernel, "kernel", target).code.decode()
        report = assembled(ptx_head(target.cuda.architecture) + text, target, tmp_path)
        assert report.spilled == 0
        assert report.registers <= MOST_REGISTERS
        assert not any(
            f"{way}.global.{size}" in text for way in ("ld", "st") for size in ("b16", "u16", "b32", "u32")
        )


def test_selection_may_choose_it_and_knows_its_noise() -> None:
    op, _ = made(DType.F32, image=(1, 64, 56, 56), weights=(64, 64, 3, 3), pads=SAME)
    found = {c.primitive: c for c in GpuCosts(NANO).choices(op)}
    assert 0 == found["winograd2_staged"].noise < found["winograd4_staged"].noise
    assert found["winograd4_staged"].seconds < found["implicit_gemm"].seconds


def test_other_strides_are_refused() -> None:
    op, _ = made(DType.F32, image=(1, 8, 9, 9), weights=(8, 8, 3, 3), strides=(2, 2))
    assert not choices(op, NANO, "winograd2_staged")
