"""Winograd's tiles that AArch64 alone is offered: of kernels of stride 2, of few channels, and F(4x2, 3x3).

Held against NumPy where tests run: kernels see lanes, registers and what an instruction set can do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.codegen.primitives.conv.primitives import PRIMITIVES
from secateur.codegen.primitives.conv.winograd.float32 import (
    LARGE,
    OBLONG,
    ODD,
    STRIDED,
    WINOGRAD,
    FloatWinograd,
)
from secateur.codegen.primitives.conv.winograd.phases import phased
from secateur.codegen.primitives.specs import ConvSpec
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target

from ...conv_harness import call, convolution_error, convolve, from_layout, targets, to_layout
from .test_conv_kernels import RELU, RESIDUAL, conv


def by_element(target: Target) -> Target:
    """The same vectors with AArch64's multiply-add."""
    return replace(target, machine=replace(target.cpu, isa=replace(target.isa, by_element=True)))


LONGEST, FOUR = by_element(targets()[0]), by_element(targets()[-1])
HALVES = {"strides": (2, 2)}
TILE_OF_6, TILE_OF_8 = STRIDED[1:]
IMAGE = conv(3, (30, 25), 20, 7, pads=(3, 3, 3, 3), in_layout="NCHW", bias=True, epilogue=RELU, **HALVES)
CASES = {
    "oblong": (
        OBLONG,
        conv(20, (9, 11), 24, 3, pads=(1, 1, 1, 1), epilogue=RESIDUAL, extras=("full",)),
        FOUR,
    ),
    "odd": (ODD, conv(20, (9, 12), 24, 3, pads=(1, 1, 1, 1), bias=True, epilogue=RELU), LONGEST),
    "large": (LARGE, conv(20, (9, 15), 24, 3, pads=(1, 1, 1, 1), bias=True, epilogue=RELU), FOUR),
    "image": (WINOGRAD[1], conv(3, (9, 11), 24, 3, pads=(1, 1, 1, 1), in_layout="NCHW", batch=2), FOUR),
    "strided4": (STRIDED[0], conv(20, (9, 12), 24, 3, pads=(1, 1, 1, 1), batch=2, **HALVES), FOUR),
    "strided6": (TILE_OF_6, conv(20, (14, 13), 24, 5, pads=(2, 1, 2, 2), bias=True, **HALVES), LONGEST),
    "strided8": (TILE_OF_8, conv(12, (17, 16), 16, 6, pads=(2, 2, 2, 2), **HALVES), FOUR),
    "strided_image": (TILE_OF_8, IMAGE, FOUR),
    "lanes_past_the_last_channel": (TILE_OF_6, replace(IMAGE, batch=2), LONGEST),
    "gray": (TILE_OF_6, conv(1, (13, 16), 8, 3, pads=(0, 1, 1, 0), in_layout="NCHW", **HALVES), LONGEST),
}


@pytest.mark.parametrize(("primitive", "spec", "target"), CASES.values(), ids=CASES)
def test_convolution(primitive: FloatWinograd, spec: ConvSpec, target: Target) -> None:
    assert convolution_error(primitive, spec, target) < 3e-5


def error_power(primitive: FloatWinograd, spec: ConvSpec, target: Target) -> float:
    """Squared error over squared value on rectified noise."""
    random = np.random.default_rng(0)
    x = np.maximum(random.standard_normal((1, spec.channels, spec.height, spec.width), np.float32), 0)
    w = random.standard_normal((spec.filters, spec.channels, *spec.kernel), np.float32)
    empty = np.zeros((1, spec.filters, spec.out_height, spec.out_width), np.float32)
    arguments = [to_layout(x, spec.in_layout), *primitive.pack(spec, target, w, None)]
    result = call(primitive.kernel(spec, target), target, arguments, to_layout(empty, spec.out_layout))
    wanted = convolve(spec, x.astype(np.float64), w.astype(np.float64))
    got = from_layout(result, spec.out_layout, spec.filters)
    return float(((got - wanted) ** 2).sum() / (wanted**2).sum())


@pytest.mark.parametrize(
    ("primitive", "spec"),
    [
        (OBLONG, conv(64, (14, 14), 16, 3, pads=(1, 1, 1, 1))),
        (ODD, conv(64, (14, 14), 16, 3, pads=(1, 1, 1, 1))),
        (LARGE, conv(64, (14, 14), 16, 3, pads=(1, 1, 1, 1))),
        (TILE_OF_6, conv(64, (29, 29), 16, 3, **HALVES)),
        (TILE_OF_8, conv(3, (29, 29), 16, 7, in_layout="NCHW", **HALVES)),
    ],
    ids=["oblong", "odd", "large", "strided6", "image"],
)
def test_kernels_have_the_error_that_is_claimed(primitive: FloatWinograd, spec: ConvSpec) -> None:
    block = f"NCHW{FOUR.lanes}c"
    spec = replace(spec, in_layout=spec.in_layout.replace("BLOCKED", block), out_layout=block)
    claimed, direct = primitive.noise(spec, FOUR), 1.4e-15 * spec.channels
    assert claimed / 4 < error_power(primitive, spec, FOUR) - direct < claimed * 4


def test_the_phases_of_a_kernel_are_its_taps_and_zeros() -> None:
    spec = conv(2, (9, 9), 3, 3, in_layout="NCHW4c", out_layout="NCHW4c", **HALVES)
    weights = np.random.default_rng(0).standard_normal((3, 2, 3, 3)).astype(np.float32)
    phases = phased(weights, TILE_OF_6.shape(spec, FOUR)).reshape(3, 2, 2, 4, 2, 2)
    assert np.count_nonzero(phases) == weights.size
    np.testing.assert_array_equal(phases[:, 0, 0, :2], weights[:, :, ::2, ::2])
    np.testing.assert_array_equal(phases[:, 1, 0, :2, 0], weights[:, :, 1, ::2])
    np.testing.assert_array_equal(phases[:, 1, 1, :2, 0, 0], weights[:, :, 1, 1])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (conv(8, (9, 9), 8, 3), r"strides \(1, 1\)"),
        (conv(8, (9, 9), 8, 3, strides=(2, 2), dilations=(2, 2)), r"dilations \(2, 2\)"),
        (conv(8, (9, 9), 8, (3, 5), strides=(2, 2)), "phases have 2x3 taps"),
        (conv(8, (9, 9), 8, 2, strides=(2, 2)), "phases have 1x1 taps"),
        (conv(8, (30, 30), 8, 13, strides=(2, 2)), "phases have 7x7 taps"),
    ],
)
def test_other_kernels_are_refused(spec: ConvSpec, message: str) -> None:
    refused = TILE_OF_6.applicable(spec, FOUR)
    assert refused is not None
    assert message.replace("\\", "") in refused


def test_processors_that_copy_elements_are_not_offered_them() -> None:
    spec = conv(8, (9, 9), 8, 3, in_layout="NCHW8c", out_layout="NCHW8c", pads=(1, 1, 1, 1))
    assert {p.applicable(spec, TARGETS["x86-64-v3"]) for p in (OBLONG, ODD)} == {"not for avx2"}
    assert WINOGRAD[1].layouts(spec, TARGETS["x86-64-v3"]) == (("NCHW8c", "NCHW8c"),)


def test_binary16_has_tiles_with_points_of_its_own() -> None:
    names = {p.name for p in PRIMITIVES}
    assert {"half_strided_winograd7", "half_winograd4x2", "half_winograd5"} <= names
    assert "half_strided_winograd8" not in names
