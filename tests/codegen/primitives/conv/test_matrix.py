"""Register tiles of pixels in pairs: what they are, and their code. Their bits are `test_linear_cross`'s."""

from __future__ import annotations

import re

import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.primitives.conv.linear_operators import linear_spec
from secateur.codegen.primitives.conv.matrix import MatrixInt8, tile_arithmetic
from secateur.codegen.targets.rows import TARGETS
from secateur.tools.checks.machine_loops import innermost

from ...generic_harness import lay_out
from ...linear_harness import conv_case

MATRIX = TARGETS["armv8.6-a+i8mm"]


@pytest.mark.parametrize(("vectors", "pixels"), [(1, 10), (2, 8), (3, 6), (4, 4)])
def test_tiles_are_pairs_of_pixels_that_fit_the_registers(vectors: int, pixels: int) -> None:
    op, _ = conv_case(1, (1, 32, 5, 9), 64, (3, 3))
    lay_out(op, *next(p for p in PRIMITIVES.candidates(op) if p.name == "direct").layouts(op, MATRIX)[0])
    arithmetic = tile_arithmetic(linear_spec(op), MATRIX)
    assert isinstance(arithmetic, MatrixInt8)
    assert arithmetic.tile_pixels(MATRIX.isa.vector_registers, vectors) == pixels


@pytest.mark.parametrize("name", ["armv8.2-a+dotprod", "rpi4", "x86-64-v3"])
def test_others_have_none(name: str) -> None:
    op, _ = conv_case(1, (1, 32, 5, 9), 64, (3, 3))
    assert not isinstance(tile_arithmetic(linear_spec(op), TARGETS[name]), MatrixInt8)


@pytest.mark.parametrize(("name", "kernel"), [("direct", 3), ("pointwise", 1), ("im2row", 3)])
def test_products_are_of_matrices_and_stay_in_registers(name: str, kernel: int) -> None:
    op, _ = conv_case(1, (1, 64, 8, 16), 64, (kernel, kernel))
    primitive = next(p for p in PRIMITIVES.candidates(op) if p.name == name)
    lay_out(op, *primitive.layouts(op, MATRIX)[-1])
    text = assembly_of(build_object(primitive.kernel(op, MATRIX), "k", MATRIX), MATRIX)
    assert re.search(r"\busmmla\b", text)
    assert not re.search(r"\b[us]u?dot\b", text)
    assert all(loop.spills == 0 for loop in innermost(text, "aarch64"))
