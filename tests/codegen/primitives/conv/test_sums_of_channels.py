"""Sums of a filter's channels, whose products meet in 16 bits: the bits of the interpreter on ARM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.primitives.conv.winograd.int8 import LinearWinograd
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir.graph import Operator
from secateur.ir.support.room import domain_room, met_signed, parted_signed, room_of
from secateur.tools.checks.machine_loops import Loop, innermost

from ...cross_harness import IN_ORDER, Case, check_on
from ...generic_harness import lay_out
from ...linear_harness import Array, bytes_of, conv_case, matmul_case
from .test_linear_winograd import layer

SIDE = 9


def roomy(shape: tuple[int, ...], blocks: int) -> Array:
    """Weights whose sets add up to 255, of either sign, so that bytes of either end leave the least room."""
    rng = np.random.default_rng(blocks)
    sets = met_signed(np.zeros(shape, np.int8), blocks).astype(np.int64)
    size = sets.shape[2]
    whole = np.minimum(rng.multinomial(255, [1 / size] * size, sets.shape[:2] + sets.shape[3:]), 127)
    whole = np.moveaxis(whole, -1, 2) * rng.choice([-1, 1], (*sets.shape[:2], 1, *sets.shape[3:]))
    return parted_signed(whole, shape[1]).astype(np.int8)


def case(
    channels: int,
    filters: int,
    kernel: int,
    blocks: int,
    low: int,
    high: int,
    side: int = SIDE,
    **window: Any,
) -> Any:
    rng = np.random.default_rng(0)
    w = roomy((filters, channels, kernel, kernel), blocks)
    assert room_of(w).signed == blocks
    x = (bytes_of(rng, (1, channels, side, side)) % 2 * (high - low) + low).astype(np.uint8)
    return conv_case(1, x.shape, filters, (kernel, kernel), w=w, x=x, **window)


SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}


@pytest.mark.slow
def test_arm_gives_the_interpreters_bits(tmp_path: Path) -> None:
    """Of pixels that are all 0 or 255 no sum of a set leaves 16 bits."""
    cases = [
        ("pointwise", case(64, 40, 1, 4, 0, 255)),
        ("pointwise", case(64, 24, 1, 2, 0, 0, zero=3)),
        ("pointwise", case(96, 8, 1, 3, 255, 255, residual=True)),
        ("direct", case(64, 20, 3, 4, 0, 255, zero=9, **SAME)),
        ("direct", case(32, 36, 3, 2, 0, 0, strides=(2, 2), **SAME)),
        ("direct", case(48, 8, 3, 3, 0, 255, dilations=(2, 1), **SAME)),
        ("im2row", case(64, 40, 1, 4, 0, 255)),
        ("im2row", case(32, 20, 3, 2, 0, 255, zero=9, **SAME)),
        ("im2row", case(96, 8, 1, 3, 0, 0, zero=3)),
        ("dense", matmul_case(4, 1, 96, 36, zero=5)),
        ("dense", matmul_case(4, 1, 80, 7, real=True)),
    ]
    tiles = [winograd(64, 8, 2), winograd(64, 16, 4), winograd(96, 8, 3), winograd(80, 20, 1)]
    tiles.append(layer((1, 64, 9, 11), 8, (4, 4), u=roomy((36 * 8, 64), 2).reshape(36, 8, 64)))
    made = [*(Case(name, *case) for name, case in cases), *(Case("linear_winograd", *t) for t in tiles)]
    check_on("armv8-a", made, tmp_path)


@pytest.mark.slow
def test_arm_gives_them_in_order_too(tmp_path: Path) -> None:
    """Where products of several filters are added side by side."""
    cases = [
        ("pointwise", case(64, 24, 1, 4, 0, 255)),
        ("pointwise", case(96, 8, 1, 3, 255, 255, residual=True)),
        ("direct", case(64, 20, 3, 4, 0, 255, zero=9, **SAME)),
        ("im2row", case(32, 20, 3, 2, 0, 255, zero=9, **SAME)),
    ]
    made = [*(Case(name, *case) for name, case in cases), Case("linear_winograd", *winograd(64, 8, 2))]
    check_on(IN_ORDER, made, tmp_path)


def test_products_of_a_core_in_order_wait_for_none_of_the_last_three() -> None:
    for loop in hot_loops("pointwise", case(128, 32, 1, 4, 0, 255)[0], TARGETS[IN_ORDER]):
        products = [i.split()[:2] for i in loop.instructions if i.startswith(("smull", "smlal"))]
        for number, (name, register) in enumerate(products):
            if name.startswith("smlal"):
                assert register not in [last for _, last in products[number - 3 : number]]


def winograd(channels: int, filters: int, blocks: int) -> tuple[Operator, list[Array]]:
    """Of weights in the Winograd domain; those of one block have room for no two."""
    sets = (16, filters, channels)
    u = np.full(sets, 127, np.int8) if blocks == 1 else roomy((16 * filters, channels), blocks).reshape(sets)
    assert domain_room(u).signed == (blocks if blocks > 1 else 0)
    return layer((1, channels, 7, 9), filters, (2, 2), zero=7, u=u)


def hot_loops(name: str, op: Operator, target: Target) -> list[Loop]:
    primitive = next(p for p in PRIMITIVES.candidates(op) if p.name == name)
    lay_out(op, *primitive.layouts(op, target)[0])
    built = build_object(primitive.kernel(op, target), "k", target)
    loops = [p for p in innermost(assembly_of(built, target), "aarch64") if p.multiplies >= 64]
    assert loops
    return loops


@pytest.mark.parametrize(("name", "blocks"), [("pointwise", 2), ("pointwise", 4), ("im2row", 2)])
def test_products_stay_in_registers(name: str, blocks: int) -> None:
    loops = hot_loops(name, case(128, 32, 1, blocks, 0, 255)[0], TARGETS["rpi4"])
    if name == "im2row" and blocks == 2:  # pixels were made signed by the copy
        assert max(len(loop.instructions) for loop in loops) <= 89
    for loop in loops:
        assert loop.spills == 0
        assert len(loop.instructions) < 1.6 * loop.multiplies


def test_register_tiles_of_winograd_load_each_operand_once() -> None:
    """Four tiles by four filters, four steps a pass, and what is left of 49 tiles apart."""
    target = TARGETS["rpi4"]
    u = roomy((36 * 16, 512), 2).reshape(36, 16, 512)
    op, _ = layer((1, 512, 28, 28), 16, (4, 4), u=u)
    primitive = LinearWinograd()
    lay_out(op, *primitive.layouts(op, target)[0])
    shape, blocking = primitive.shape(op, target), primitive.blocking(op, target)
    assert (blocking.rows, blocking.vectors, shape.rest(blocking.rows)) == (4, 1, 1)
    built = build_object(primitive.products(op, target), "k", target)
    longest = max(innermost(assembly_of(built, target), "aarch64"), key=lambda loop: loop.multiplies)
    assert longest.spills == 0
    assert len(longest.instructions) - sum("prfm" in line for line in longest.instructions) <= 338


def test_copies_that_are_signed_pay_for_many_filters_and_one_tap() -> None:
    """Where taps leave the image, im2row multiplies padding: 5 % more cycles by llvm-mca."""
    target = TARGETS["rpi4"]
    for op, names, signed_copy in (
        (case(512, 1000, 1, 2, 0, 255, side=13)[0], ("pointwise", "im2row"), True),
        (case(128, 256, 3, 2, 0, 255, side=28, strides=(2, 2), **SAME)[0], ("direct", "im2row"), False),
    ):
        tiled = [p for p in PRIMITIVES.candidates(op) if p.name in names]
        times = {p.name: p.estimate(op, target) for p in tiled}
        assert (min(times, key=lambda name: times[name]) == "im2row") is signed_copy
