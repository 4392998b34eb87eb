"""Convolutions and dense layers of floats on ARM under qemu-user, in register tiles of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.ir.elementwise import Step

from ...sampled import in_turn, sampled
from ..cross_harness import EMULATORS, FLOATS, Case, check_on
from ..generic_harness import operator

SAME = (1, 1, 1, 1)


def conv(
    primitive: str,
    shape: tuple[int, ...],
    filters: int,
    kernel: int,
    layouts: int = 0,
    groups: int = 1,
    **attributes: Any,
) -> Case:
    """With a bias and a ReLU."""
    random = np.random.default_rng(shape[1] + filters)
    weights = random.standard_normal((filters, shape[1] // groups, kernel, kernel)) / kernel / shape[1] ** 0.5
    arrays = [random.standard_normal(shape), weights, random.standard_normal((filters, 1, 1))]
    floats = [np.asarray(a, np.float32) for a in arrays]
    given = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": groups}
    given |= {"epilogue": (Step("add"), Step("relu")), **attributes}
    return Case(primitive, operator("conv", floats, given, constants=(1, 2)), floats, layouts)


def dense(inputs: int, outputs: int) -> Case:
    """Of a batch of one, with a bias and a ReLU."""
    random = np.random.default_rng(inputs)
    weights = random.standard_normal((inputs, outputs)) / inputs**0.5
    arrays = [random.standard_normal((1, inputs)), weights, random.standard_normal(outputs)]
    floats = [np.asarray(a, np.float32) for a in arrays]
    steps = (Step("add"), Step("relu"))
    return Case("dense", operator("matmul", floats, {"epilogue": steps}, constants=(1, 2)), floats)


CASES = [
    dense(39, 28),  # two loads of 16 inputs and 7 more; a whole panel and one of three vectors
    dense(17, 5),
    *(conv("direct", (1, 20, 9, width), 24, 3, pads=SAME) for width in (5, 11, 19)),
    conv("direct", (2, 12, 9, 14), 20, 3, strides=(2, 2), pads=SAME),
    conv("direct", (1, 3, 17, 23), 24, 7, strides=(2, 2), pads=(3, 3, 3, 3)),
    conv("direct", (1, 8, 5, 40), 12, 13, pads=(6, 6, 6, 6)),
    conv("pointwise", (1, 20, 7, 9), 36, 1),
    conv("pointwise", (2, 8, 20, 13), 64, 1),
    conv("pointwise", (1, 24, 9, 10), 12, 1, strides=(2, 3)),
    conv("im2row", (1, 40, 7, 7), 72, 3, pads=SAME),
    conv("im2row", (1, 256, 14, 14), 32, 3, pads=SAME),
    conv("grouped", (1, 24, 5, 5), 36, 3, groups=12, strides=(2, 2), pads=(1, 0, 1, 0)),
    *(conv(f"winograd{m}", (1, 20, 13, 15), 24, 3, pads=SAME) for m in (2, 4, 6)),
    conv("winograd4", (2, 64, 7, 7), 72, 3, pads=SAME),
    conv("winograd6", (1, 3, 30, 5), 4, 3, pads=(0, 2, 1, 0)),
    conv("direct", (1, 12, 6, 9), 12, 9, pads=(8, 8, 8, 8)),  # whole taps of a tile lie outside the image
    conv("direct", (1, 8, 9, 21), 12, 5, dilations=(2, 2), pads=(4, 4, 4, 4)),
    conv("direct", (1, 20, 9, 23), 32, 5, strides=(2, 3), pads=(2, 2, 2, 2)),
    conv("direct", (1, 8, 6, 7), 16, 1, pads=SAME),
    conv("depthwise", (1, 20, 6, 50), 20, 3, pads=SAME, groups=20),
    conv("depthwise", (2, 8, 9, 60), 8, 3, strides=(2, 2), pads=(0, 0, 1, 1), groups=8),
    conv("winograd4", (1, 96, 10, 10), 80, 3, pads=SAME),  # a register tile for what is left of the tiles
    conv("winograd5", (1, 20, 14, 13), 40, 3, pads=SAME),
    conv("winograd7", (1, 20, 14, 9), 24, 3, pads=SAME),
    conv("winograd4x2", (1, 36, 7, 7), 40, 3, pads=SAME),
    conv("strided_winograd6", (2, 20, 13, 16), 24, 3, strides=(2, 2), pads=SAME),
    conv("strided_winograd8", (1, 3, 33, 40), 24, 7, strides=(2, 2), pads=(3, 3, 3, 3)),
]


@pytest.mark.slow
@pytest.mark.examples
@pytest.mark.parametrize("target", sampled(EMULATORS, FLOATS))
def test_convolutions_of_floats_on_arm(target: str, tmp_path: Path) -> None:
    """By streams (AArch64) and without (ARMv7)."""
    some = in_turn(CASES, FLOATS.index(target) if target in FLOATS else 0, lambda case: case.primitive)
    check_on(target, some, tmp_path, rtol=1e-4, atol=1e-4)
