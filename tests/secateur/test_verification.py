"""Which outputs of an artifact must be the interpreter's to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

import secateur
from secateur import Watch
from tests.passes.texts import body, build, expanded

INTEGERS = """
%q = bytes %x 1x4x5x5 0.05:125
%d = real %q 1x4x5x5
%w = weights 4x4x3x3 0.01
%k = nn.conv(%d, %w) {SAME} : tensor<1x4x5x5xf32>
%r = nn.relu(%k) : tensor<1x4x5x5xf32>
%o = bytes %r 1x4x5x5 0.02:0
%y = real %o 1x4x5x5
return %y as "y"
"""


@pytest.mark.parametrize("exact", [True, False])
def test_integers_are_held_to_the_bit_and_floats_to_a_tolerance(exact: bool, tmp_path: Path) -> None:
    text = (
        INTEGERS
        if exact
        else INTEGERS.replace("%y = real %o 1x4x5x5", "%y = nn.sigmoid(%k) : tensor<1x4x5x5xf32>")
    )
    graph = build(body("tensor<1x4x5x5xf32>", expanded(text)))
    (row,) = secateur.compile(graph, tmp_path / "m.so", watch=Watch(verify="artifact")).verified
    assert (row.allowed == 0) is exact
    assert row.moved <= row.allowed
