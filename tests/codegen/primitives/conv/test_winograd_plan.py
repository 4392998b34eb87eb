"""How layers with more transformed weights than a cache are cut on AArch64, and the loops of products."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter

import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.primitives.conv.winograd.float32 import LARGE, ODD, TALL, WINOGRAD, FloatWinograd
from secateur.codegen.primitives.conv.winograd.nest import INPUT, OUTPUT, PRODUCTS, kernel_of
from secateur.codegen.primitives.specs import ConvSpec, HalfConvSpec
from secateur.codegen.targets.find import find
from secateur.codegen.targets.target import Target
from secateur.tools.checks.machine_loops import Loop, innermost

F4, F6 = WINOGRAD[1:]


def layer(target: Target, channels: int, side: int, kind: type[ConvSpec] = ConvSpec) -> ConvSpec:
    block = f"NCHW{target.lanes}c"
    sizes, pads = (1, channels, side, side, channels), (1, 1, 1, 1)
    return kind(*sizes, (3, 3), pads=pads, in_layout=block, out_layout=block)


@pytest.mark.parametrize(
    ("primitive", "side", "rows"),
    [
        (TALL, 28, [6, 6, 6, 5, 5]),
        (TALL, 112, [*[6] * 17, 5, 5]),
        (ODD, 14, [5, 5, 4]),
        (F4, 13, [4, 3, 3, 3]),
        (F4, 56, [4] * 14),
    ],
)
def test_tiles_that_are_a_row_lower_leave_nothing_outside(
    primitive: FloatWinograd, side: int, rows: list[int]
) -> None:
    target = find("rpi5").in_half
    shape = primitive.shape(layer(target, 64, side, HalfConvSpec), target)
    owners = [tile for tile, _ in shape.down.owners]
    assert [owners.count(tile) for tile in range(shape.grid[0])] == rows
    wide, columns = shape.tile[1], [shape.whole[1], shape.grid[1] - shape.whole[1]]
    products = (side + 2 * len(rows)) * (columns[0] * (wide + 2) + columns[1] * (wide + 1))
    assert shape.used(1) == pytest.approx(products / shape.tiles / shape.positions)
    several = replace(shape, spec=replace(shape.spec, batch=2))
    assert several.used(1) == shape.used(1)


@pytest.mark.parametrize("primitive", [F4, F6], ids=lambda primitive: primitive.name)
def test_many_weights_stream_once_and_all_channels_are_added_at_once(primitive: FloatWinograd) -> None:
    target = find("rpi4")
    spec = layer(target, 512, 28)
    shape, plan = primitive.shape(spec, target), primitive.plan(spec, target)
    assert (shape.blocks(plan), shape.chunks(plan)) == (1, 1)
    assert shape.tasks(plan) >= 4


def test_where_weights_stay_in_the_cache_all_that_a_task_keeps_does_too() -> None:
    target = find("rpi4")
    spec = layer(target, 64, 56)
    assert max(cost.workspace for cost in F4.plans(spec, target).values()) <= target.l2_bytes


def test_on_x86_it_always_does() -> None:
    target = find("x86-64-v3")
    spec = layer(target, 512, 28)
    assert max(cost.workspace for cost in F4.plans(spec, target).values()) <= target.l2_bytes


def loops(primitive: FloatWinograd, target: Target, spec: ConvSpec, phase: str = PRODUCTS) -> list[Loop]:
    kernel = kernel_of("winograd", primitive.shape(spec, target), primitive.plan(spec, target), (phase,))
    found = innermost(assembly_of(build_object(kernel, "kernel", target), target), "aarch64")
    return [loop for loop in found if loop.multiplies]


@pytest.mark.parametrize(
    ("primitive", "kind", "side", "rows", "channels", "asked"),
    [
        (F4, ConvSpec, 56, {8, 4}, 16, 2),
        (F4, ConvSpec, 14, {8, 4}, 16, 4),  # four tiles need the products at infinity both ways
        (ODD, ConvSpec, 15, {9}, 16, 8),
        (ODD, ConvSpec, 14, {9, 6}, 16, 8),  # six tiles need the products at infinity
        (F4, HalfConvSpec, 36, {7, 4}, 64 - 1, 6),  # the first channel's products begin the sums
        (ODD, HalfConvSpec, 14, {6, 3}, 64 - 1, 16),  # sums of six vectors need not wait
    ],
)
def test_register_tiles_share_the_weights_that_are_asked_for_and_spill_nothing(
    primitive: FloatWinograd, kind: type[ConvSpec], side: int, rows: set[int], channels: int, asked: int
) -> None:
    """A pass takes eight lines of them, or 32 of binary16, which up to seven register tiles go through."""
    target = find("rpi5").in_half if kind is HalfConvSpec else find("rpi4")
    found = loops(primitive, target, layer(target, 256, side, kind))
    assert {loop.multiplies // (2 * channels) for loop in found} == rows
    for loop in found:
        assert loop.spills == 0
        assert sum("prfm" in line for line in loop.instructions) == asked


@pytest.mark.parametrize(
    ("primitive", "phase", "side", "most"),
    [
        (F4, INPUT, 60, 285),
        (ODD, INPUT, 60, 490),
        (F6, INPUT, 60, 660),
        (F6, OUTPUT, 60, 550),
        (LARGE, OUTPUT, 56, 870),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_transforms_copy_and_make_few_registers(
    primitive: FloatWinograd, phase: str, side: int, most: int
) -> None:
    """Constants are elements of registers, and what is added to in place is not read afterwards."""
    target = find("rpi5")
    found = loops(primitive, target, layer(target, 16, side), phase)
    sizes = [(len(loop.instructions), loop) for loop in found if loop.multiplies > 50]
    loop = min((pair for pair in sizes if 4 * pair[1].multiplies < 3 * pair[0]), key=itemgetter(0))[1]
    made = [line for line in loop.instructions if line.strip().startswith(("mov\tv", "movi", "fmov"))]
    assert len(loop.instructions) <= most
    assert len(made) <= 0.09 * most
