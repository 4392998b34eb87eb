"""Kernels of many columns: their taps are loops, and give what taps written out give."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from secateur.codegen.primitives.conv.depthwise.lanes import DEPTHWISE
from secateur.codegen.primitives.conv.direct import DIRECT
from secateur.codegen.primitives.conv.grouped import GROUPED
from secateur.codegen.primitives.conv.kn2row.row_major import KN2ROW
from secateur.codegen.primitives.conv.plan import row_runs
from secateur.codegen.primitives.conv.transposed import TRANSPOSED, looped
from secateur.codegen.primitives.specs import ConvSpec, TransposedSpec
from secateur.codegen.targets.target import Target
from secateur.ir.elementwise import Step

from ....sampled import sampled, sampled_rows
from ...conv_harness import convolution_error, targets
from ...linear_harness import check_case, conv_case, native_targets

every_target = pytest.mark.parametrize("target", targets(), ids=lambda t: t.isa.name)
once = pytest.mark.parametrize("target", targets()[:1], ids=lambda t: t.isa.name)
natively = pytest.mark.parametrize("target", native_targets()[:1], ids=lambda t: t.name)
RELU = (Step("relu"),)
BLOCKED = {"in_layout": "BLOCKED", "out_layout": "BLOCKED"}


def conv(
    channels: int, size: tuple[int, int], filters: int, kernel: tuple[int, int], **more: Any
) -> ConvSpec:
    return ConvSpec(1, channels, *size, filters, kernel, **{**BLOCKED, **more})


CASES = {
    "inside": conv(1, (1, 200), 5, (1, 64), strides=(1, 3), in_layout="NCHW"),
    "same": conv(10, (1, 90), 20, (1, 31), pads=(0, 15, 0, 15), bias=True, epilogue=RELU),
    "one filter": conv(1, (1, 150), 1, (1, 40), strides=(1, 2), pads=(0, 20, 0, 19), in_layout="NCHW"),
    "both axes": conv(4, (20, 23), 16, (13, 15), pads=(6, 7, 6, 7)),
    "dilated": conv(3, (4, 60), 8, (2, 7), dilations=(2, 3), pads=(1, 9, 2, 4), strides=(2, 2)),
    "beyond the image": conv(5, (3, 9), 8, (3, 25), pads=(1, 14, 1, 12)),
    "padding beyond the kernel": conv(2, (2, 7), 8, (1, 12), pads=(0, 20, 0, 21), bias=True),
    "last column alone": conv(2, (1, 40), 8, (1, 13), pads=(0, 0, 0, 5)),
}


@every_target
@pytest.mark.parametrize("name", sampled(CASES, {*CASES} - {"inside", "beyond the image"}))
def test_direct(name: str, target: Target) -> None:
    assert CASES[name].wide
    assert convolution_error(DIRECT, CASES[name], target) < 1e-5


@once
@pytest.mark.parametrize("name", sampled(CASES, ["same", "one filter", "dilated", "beyond the image"]))
def test_depthwise_and_grouped(name: str, target: Target) -> None:
    spec = replace(CASES[name], channels=12, filters=12, groups=12, in_layout="BLOCKED", out_layout="BLOCKED")
    assert convolution_error(DEPTHWISE, spec, target) < 1e-5
    assert convolution_error(GROUPED, replace(spec, groups=3), target) < 1e-5


TRANSPOSED_CASES = {
    "many taps": {"width": 30, "kernel": (1, 40), "strides": (1, 1), "pads": (0, 20, 0, 19)},
    "many phases": {"width": 9, "kernel": (2, 24), "strides": (2, 12), "pads": (0, 6, 1, 6)},
    "gaps": {"width": 9, "kernel": (1, 5), "strides": (1, 8), "pads": (0, 0, 0, 0)},
    "shared divisor": {
        "width": 20,
        "kernel": (1, 9),
        "strides": (1, 6),
        "dilations": (1, 4),
        "pads": (0, 3, 0, 5),
    },
    "dilated": {"width": 20, "kernel": (1, 9), "strides": (1, 5), "dilations": (1, 3), "pads": (0, 7, 0, 0)},
    "fewer columns than phases": {"width": 1, "kernel": (1, 3), "strides": (1, 7), "pads": (0, 0, 0, 0)},
    "output padding": {
        "width": 6,
        "kernel": (1, 13),
        "strides": (1, 8),
        "pads": (0, 2, 0, 1),
        "output_padding": (0, 5),
    },
    "grouped": {"width": 11, "kernel": (3, 16), "strides": (1, 8), "pads": (1, 4, 1, 4), "groups": 2},
}


@once
@pytest.mark.parametrize(
    "name", sampled(TRANSPOSED_CASES, {*TRANSPOSED_CASES} - {"many taps", "dilated", "gaps"})
)
def test_transposed(name: str, target: Target) -> None:
    more: dict[str, Any] = {**BLOCKED, **TRANSPOSED_CASES[name]}
    spec = TransposedSpec(1, 12, 3, more.pop("width"), 20, more.pop("kernel"), bias=True, **more)
    assert looped(spec)
    assert convolution_error(TRANSPOSED, spec, target) < 1e-5


WINDOWS: dict[str, dict[str, Any]] = {
    "same": {"shape": (1, 20, 1, 60), "kernel": (1, 31), "pads": (0, 15, 0, 15)},
    "both axes": {"shape": (1, 5, 14, 17), "kernel": (13, 13), "pads": (6, 6, 6, 6)},
    "few channels": {"shape": (1, 3, 2, 70), "kernel": (2, 24), "pads": (1, 3, 0, 9), "strides": (1, 2)},
    "dilated": {"shape": (1, 16, 5, 40), "kernel": (3, 7), "pads": (1, 6, 1, 9), "dilations": (1, 2)},
    "beyond": {"shape": (1, 4, 2, 7), "kernel": (1, 12), "pads": (0, 20, 0, 21)},
}
borders = pytest.mark.parametrize(  # a border of zeros needs nothing
    ("name", "zero"),
    sampled_rows(
        product(WINDOWS, [0, 113]), lambda name, zero: zero and name not in ("few channels", "beyond")
    ),
)


@natively
@borders
def test_bytes(name: str, zero: int, target: Target) -> None:
    window = dict(WINDOWS[name])
    shape, kernel = window.pop("shape"), window.pop("kernel")
    seen = check_case(conv_case(3, shape, 12, kernel, zero=zero, **window), target)
    assert {"direct", "im2row"} <= seen
    assert "kn2row" not in seen


@natively
@borders
def test_depthwise_bytes(name: str, zero: int, target: Target) -> None:
    window = dict(WINDOWS[name])
    shape, kernel = (1, 20, *window.pop("shape")[2:]), window.pop("kernel")
    assert "depthwise" in check_case(conv_case(4, shape, 20, kernel, zero=zero, groups=20, **window), target)


def test_ordinary_kernels_are_written_out() -> None:
    for kernel in (1, 3, 5, 7, 9, 11):
        spec = conv(8, (40, 40), 8, (kernel, kernel), pads=(kernel // 2,) * 4)
        assert not spec.wide
        assert all(run.taps for run in row_runs(spec, 0, spec.out_width, 6))


def test_kn2row_refuses_what_it_would_write_out() -> None:
    spec = conv(1, (1, 4000), 1, (1, 512), in_layout="NCHW", out_layout="NCHW")
    assert "512 columns wide" in str(KN2ROW.applicable(spec, targets()[0]))
    assert KN2ROW.applicable(replace(spec, kernel=(1, 31)), targets()[0]) is None


def test_a_row_of_many_columns_is_cut_at_once() -> None:
    """Nothing is done for each of its columns and taps."""
    spec = conv(1, (1, 1 << 20), 1, (1, 1024), pads=(0, 512, 0, 511))
    runs = row_runs(spec, 0, spec.out_width, 12)
    assert len(runs) <= 6
    assert sum(run.tiles * run.size for run in runs) == spec.out_width
    assert np.all([run.taps == () for run in runs])
    assert sum(run.tiles * run.size for run in runs if run.whole) == (1 << 20) - 1023
