"""What primitives answer together is what they answer one by one."""

from __future__ import annotations

from typing import Any

import pytest

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.targets.find import find
from secateur.passes.fuse.fuse import Fuse
from secateur.tools.fuzz.networks import random_network


@pytest.mark.parametrize("target", ["rpi4", "rpi2", "x86-64-v3"])
@pytest.mark.parametrize("seed", range(3))
def test_ways_are_layouts_and_costs(seed: int, target: str) -> None:
    row, told = find(target), 0
    for op in Fuse().run(random_network(seed)).operators:
        read: dict[type, Any] = {}
        for primitive in PRIMITIVES.candidates(op):
            ways = primitive.ways(op, row, read)
            assert (ways is None) == (primitive.applicable(op, row) is not None)
            if ways is not None:
                assert ways == (primitive.layouts(op, row), primitive.costs(op, row))
                told += 1
    assert told > 10
