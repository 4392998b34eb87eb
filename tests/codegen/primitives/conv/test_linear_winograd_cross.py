"""Convolution quantized in the Winograd domain for ARM under qemu-user: the bits of the interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest

from ...cross_harness import EMULATORS, Case, check_on
from .test_linear_winograd import layer

pytestmark = pytest.mark.slow  # the first link for a target builds its libc: minutes


@pytest.mark.parametrize("name", list(EMULATORS))
def test_arm_gives_the_interpreters_bits(name: str, tmp_path: Path) -> None:
    layers = [
        layer((1, 20, 9, 11), 24, tile, zero=7, result=3, residual=True) for tile in ((2, 2), (4, 2), (4, 4))
    ]
    check_on(name, [Case("linear_winograd", op, arrays) for op, arrays in layers], tmp_path)
