"""Depthwise convolutions of GPUs in strips: bytes to the bit, floats within rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.costs import GpuCosts
from secateur.codegen.backends.cuda.ptx.modules import build_module, ptx_head
from secateur.codegen.backends.cuda.strips import Strip
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter
from secateur.ir.types import DType

from ....sampled import sampled
from ...linear_harness import conv_case
from ...primitives.conv.test_half import SAME, bound
from ...simt.emulator import Gpu, configure
from .harness import choices, run
from .test_ptxas import ASSEMBLER, assembled, kernels
from .test_winograd_floats import made

XAVIER, NANO = GPUS["jetson-xavier"], GPUS["jetson-nano"]
BYTES: list[dict[str, Any]] = [
    {"shape": (2, 20, 9, 11), "kernel": (3, 3), "pads": SAME, "zero": 7, "residual": True, "result_zero": 3},
    {"shape": (1, 33, 8, 13), "kernel": (5, 3), "pads": (2, 0, 1, 3), "strides": (2, 2), "zero": 255},
    {"shape": (1, 16, 9, 9), "kernel": (3, 2), "dilations": (2, 3), "real": True, "zero": 128},
]


@pytest.mark.parametrize("seed", range(len(BYTES)))
def test_bytes_to_the_bit(seed: int) -> None:
    channels = BYTES[seed]["shape"][1]
    op, arrays = conv_case(seed, filters=channels, groups=channels, **BYTES[seed])
    wanted = interpreter.evaluate(op, arrays)[0]
    (choice,) = choices(op, XAVIER, "depthwise_strips")
    np.testing.assert_array_equal(run(op, arrays, XAVIER, choice), wanted)


@pytest.mark.parametrize("value", [-128, 127])
def test_extremes_do_not_saturate(value: int) -> None:
    w, x = np.full((16, 1, 7, 7), value, np.int8), np.full((1, 16, 8, 8), 255, np.uint8)
    op, arrays = conv_case(1, (1, 16, 8, 8), 16, (7, 7), groups=16, w=w, x=x)
    wanted = interpreter.evaluate(op, arrays)[0]
    (choice,) = choices(op, XAVIER, "depthwise_strips")
    np.testing.assert_array_equal(run(op, arrays, XAVIER, choice), wanted)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F16], ids=lambda d: d.value)
def test_floats(dtype: DType, strides: tuple[int, int]) -> None:
    op, arrays = made(
        dtype,
        image=(2, 20, 9, 11),
        weights=(20, 1, 3, 3),
        strides=strides,
        pads=SAME,
        groups=20,
        residual=True,
    )
    wanted = interpreter.evaluate(op, arrays)[0]
    half = dtype == DType.F16
    (choice,) = choices(op, NANO, f"{'half_' if half else ''}depthwise_strips")
    off = np.abs(run(op, arrays, NANO, choice).astype(np.float64) - wanted)
    assert (off <= (bound(op, arrays) + 2.0**-14 if half else 1e-5)).all()


@pytest.mark.skipif(ASSEMBLER is None, reason="needs ptxas: pip install -e '.[cuda]'")
@pytest.mark.parametrize("name", ["jetson-nano", "jetson-xavier", "jetson-orin"])
def test_nothing_is_spilled_and_each_word_is_multiplied_once(name: str, tmp_path: Path) -> None:
    target = GPUS[name]
    ways = {"depthwise_strips": DType.F32, "half_depthwise_strips": DType.F16}
    for primitive, dtype in ways.items():
        op, _ = made(dtype, image=(1, 144, 56, 56), weights=(144, 1, 3, 3), pads=SAME, groups=144)
        (kernel,) = kernels(op, target, primitive)
        text = build_module(kernel, "kernel", target).code.decode()
        report = assembled(ptx_head(target.cuda.architecture) + text, target, tmp_path)
        conv, strip = kernel.spec.conv, kernel.spec.strip  # type: ignore[attr-defined]
        assert report.spilled == 0
        assert report.registers <= strip.registers(conv)
        products = text.count("fma.rn.f32" if dtype == DType.F32 else "fma.rn.f16x2")
        assert products == 9 * 4 * strip.pixels


def test_the_model_prefers_strips() -> None:
    op, _ = conv_case(1, (1, 144, 56, 56), 144, (3, 3), groups=144, pads=SAME)
    assert min(GpuCosts(XAVIER).choices(op), key=lambda c: c.seconds).primitive == "depthwise_strips"


def test_other_groups_are_refused() -> None:
    op, _ = conv_case(1, (1, 32, 8, 8), 64, (3, 3), groups=32)
    assert not choices(op, XAVIER, "depthwise_strips")


def test_strips_check_themselves() -> None:
    with pytest.raises(ValueError, match="a thread has results"):
        Strip(0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled(range(6), [2, 3]))
def test_random_shapes(seed: int) -> None:
    choose = np.random.default_rng(seed)
    configure(Gpu(order=seed))

    def several(low: int, high: int, count: int) -> tuple[int, ...]:
        return tuple(map(int, choose.integers(low, high, count)))

    channels, zero = several(1, 50, 1)[0], several(0, 256, 1)[0]
    shape, kernel = (*several(1, 3, 1), channels, *several(5, 14, 2)), several(1, 5, 2)
    window: dict[str, Any] = {"groups": channels, "pads": several(0, 3, 4), "strides": several(1, 3, 2)}
    op, arrays = conv_case(seed, shape, channels, kernel, zero=zero, residual=bool(seed % 2), **window)
    for choice in choices(op, XAVIER, "depthwise_strips"):
        wanted = interpreter.evaluate(op, arrays)[0]
        np.testing.assert_array_equal(run(op, arrays, XAVIER, choice), wanted)
    configure()
