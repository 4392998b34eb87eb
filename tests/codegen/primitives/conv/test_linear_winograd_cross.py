"""Convolution quantized in the Winograd domain for ARM under qemu-user: the bits of the interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest

from ....sampled import in_turn
from ...cross_harness import EMULATORS, Case, check_on
from .test_linear_winograd import layer

pytestmark = pytest.mark.slow  # the first link for a target builds its libc: minutes


@pytest.mark.examples
@pytest.mark.parametrize("name", list(EMULATORS))
def test_arm_gives_the_interpreters_bits(name: str, tmp_path: Path) -> None:
    tiles = in_turn([(2, 2), (4, 2), (4, 4)], [*EMULATORS].index(name), len)
    layers = [layer((1, 20, 9, 11), 24, tile, zero=7, result=3, residual=True) for tile in tiles]
    layers += [layer((1, 20, 9, 11), 24, tile, zero=7, result=3, words=15) for tile in tiles]
    layers.append(layer((1, 64, 28, 28), 32, (4, 4), words=13, residual=True))
    layers.append(layer((1, 32, 8, 8), 16, (4, 4), words=15, residual=True, zero=255, extreme=-1))
    check_on(name, [Case("linear_winograd", op, arrays) for op, arrays in layers], tmp_path)
