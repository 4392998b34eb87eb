"""Operands that are streams: the functions in LLVM IR that they call, and register tiles for them."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.primitives.conv.direct import DIRECT
from secateur.codegen.primitives.conv.int8_spec import LinearSpec
from secateur.codegen.primitives.conv.plan import cheapest
from secateur.codegen.primitives.conv.pointwise import POINTWISE
from secateur.codegen.primitives.conv.rows_by_element import HalfRowsByElement, Rows, RowsByElement, rows_of
from secateur.codegen.primitives.conv.rows_of_bytes import RowsOfBytes
from secateur.codegen.primitives.conv.winograd.int8 import shape_of
from secateur.codegen.primitives.conv.winograd.nest import OUTPUT, kernel_of
from secateur.codegen.primitives.conv.winograd.plan import costs
from secateur.codegen.primitives.specs import ConvSpec, HalfConvSpec
from secateur.codegen.stream_functions import with_functions
from secateur.codegen.targets.find import find
from secateur.codegen.vector.requantize import BLOCK
from secateur.codegen.vector.streams import ASK, HELD, KEPT, MOVED, PLACE, TAKE, last_load, loads_of
from secateur.tools.checks.cost_layers import LAYERS
from secateur.tools.checks.machine_loops import hottest, innermost

CALLER = f"""
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
define void @kernel(ptr %data, ptr %result) {{
  %1 = call i64 @{PLACE}(ptr nonnull %data)
  %2 = tail call <12 x float> @{TAKE}3_float32(i64 %1)
  %3 = call i64 @{MOVED}(i64 %1)
  %4 = call <8 x half> @{TAKE}1_float16(i64 %3)
  call void @{ASK}2(i64 %3)
  %5 = call <8 x half> @{HELD}_float16(<8 x half> %4)
  %6 = call <4 x float> @{KEPT}_float32(<4 x float> zeroinitializer)
  store <12 x float> %2, ptr %result
  store <4 x float> %6, ptr %result
  store <8 x half> %5, ptr %result
  ret void
}}
"""


def test_every_function_that_is_called_is_defined_once() -> None:
    module = llvm.parse_assembly(with_functions(CALLER))
    module.verify()
    ours = [f for f in module.functions if f.name.startswith("secateur_stream_")]
    assert len(ours) == 7
    assert not any(f.is_declaration for f in ours)


def test_other_code_stays_as_it_is() -> None:
    text = "define void @kernel() {\n  ret void\n}\n"
    assert with_functions(text) == text


@pytest.mark.parametrize(
    ("vectors", "loads", "last"), [(1, 2, 1), (2, 1, 2), (4, 1, 4), (5, 3, 1), (8, 2, 4)]
)
def test_four_vectors_are_a_load_and_one_alone_moves_its_address_apart(
    vectors: int, loads: int, last: int
) -> None:
    assert (loads_of(vectors), last_load(vectors)) == (loads, last)


@pytest.mark.parametrize(
    ("reach", "apart", "vectors", "pixels"),
    [(1, 1, 1, 12), (1, 1, 2, 8), (1, 1, 3, 6), (1, 1, 4, 4), (3, 1, 2, 8), (3, 2, 2, 5), (11, 1, 4, 3)],
)  # fmt: skip
def test_a_tile_has_the_fewest_loads_of_those_whose_operands_fit(
    reach: int, apart: int, vectors: int, pixels: int
) -> None:
    rows = Rows(reach, apart)
    assert RowsByElement(4, rows).tile_pixels(32, vectors) == pixels
    assert pixels * vectors + rows.columns(pixels) + 5 <= 32


def test_in_binary16_elements_are_of_the_lower_registers() -> None:
    for rows in (Rows(), Rows(3), Rows(3, 2)):
        assert rows.columns(HalfRowsByElement(8, rows).tile_pixels(32, 2)) <= 8


@pytest.mark.parametrize(
    ("spec", "target"),
    [(ConvSpec(1, 8, 9, 9, 8, (3, 3), in_layout="NCHW4c", out_layout="NCHW4c"), "rpi2"),
     (ConvSpec(1, 3, 9, 9, 8, (3, 3), in_layout="NCHW", out_layout="NCHW4c"), "rpi4"),
     (ConvSpec(1, 8, 90, 90, 8, (1, 29), in_layout="NCHW4c", out_layout="NCHW4c"), "rpi4")],
    ids=["no elements", "no blocks", "wide"],
)  # fmt: skip
def test_other_convolutions_have_no_such_tiles(spec: ConvSpec, target: str) -> None:
    assert rows_of(spec, find(target)) is None


@pytest.mark.parametrize(
    ("kind", "block", "step", "target"),
    [(ConvSpec, "NCHW4c", 2, "rpi4"), (ConvSpec, "NCHW4c", 1, "rpi3"), (HalfConvSpec, "NCHW8c", 1, "rpi5"),
     (HalfConvSpec, "NCHW8c", 2, "rpi5")],
)  # fmt: skip
def test_a_row_of_taps_has_few_instructions_besides_its_products(
    kind: type[ConvSpec], block: str, step: int, target: str
) -> None:
    """Nine loads of 11 columns and 24 vectors of weights, say, and four others for 120 products."""
    row = find(target).in_half if kind is HalfConvSpec else find(target)
    strides, pads = (step, step), (1, 1, 1, 1)
    spec = kind(1, 16, 9, 28 * step, 16, (3, 3), strides, pads, in_layout=block, out_layout=block)
    kernel = build_object(DIRECT.kernel(spec, row), "kernel", row)
    loop = hottest(innermost(assembly_of(kernel, row), "aarch64"))
    assert loop.spills == 0
    assert len(loop.instructions) <= 1.13 * loop.multiplies


@pytest.mark.parametrize(
    ("kernel", "target", "most"), [(3, "rpi4", 1.75), (1, "rpi3", 1.8), (3, "rpi5", 1.2), (1, "rpi5", 1.25)]
)
def test_bytes_are_multiplied_by_streams_of_weights(kernel: int, target: str, most: float) -> None:
    """A block of 16 channels of 4 pixels by 16 filters takes 4 loads of weights, and 4 of pixels at most.

    `most` instructions by those that multiply: without a dot product half as many add.
    """
    row, primitive = find(target), DIRECT if kernel == 3 else POINTWISE
    layout, pads = f"NCHW{BLOCK}c", (kernel // 2,) * 4
    spec = LinearSpec(1, 64, 9, 28, 64, (kernel, kernel), pads=pads, in_layout=layout, out_layout=layout)
    assert isinstance(primitive.arithmetic(spec, row), RowsOfBytes)
    loop = hottest(
        innermost(assembly_of(build_object(primitive.kernel(spec, row), "kernel", row), row), "aarch64")
    )
    assert loop.spills == 0
    assert len(loop.instructions) <= most * loop.multiplies


@pytest.mark.parametrize(("channels", "target"), [(8, "rpi4"), (24, "rpi5"), (64, "rpi2")])
def test_bytes_of_part_of_a_block_or_of_armv7_are_loaded_step_by_step(channels: int, target: str) -> None:
    layout = f"NCHW{BLOCK}c"
    spec = LinearSpec(1, channels, 9, 9, 16, (3, 3), in_layout=layout, out_layout=layout)
    assert not isinstance(DIRECT.arithmetic(spec, find(target)), RowsOfBytes)


@pytest.mark.parametrize(("target", "most"), [("rpi4", 1.84), ("rpi5", 1.13)])
def test_tiles_of_bytes_are_multiplied_by_streams(target: str, most: float) -> None:
    """Without a dot product a round has all of a register tile's products: 160 multiply, 95 add up pairs and
    lanes, 39 load and finish. With one 80 of 89 multiply.
    """
    row = find(target)
    sample = LAYERS["int8-winograd"](row)
    loops = innermost(assembly_of(build_object(sample.kernel, "kernel", row), row), "aarch64")
    loop = max(loops, key=lambda loop: loop.multiplies)
    assert loop.spills == 0
    assert len(loop.instructions) <= most * loop.multiplies


@pytest.mark.parametrize("target", ["rpi4", "rpi5"])
def test_factors_of_winograd_tiles_are_elements_of_a_register(target: str) -> None:
    """Constants in registers of their own would make LLVM spill parts of a tile, or make them anew."""
    row = find(target)
    spec = LinearSpec(
        1, 16, 16, 16, 16, (3, 3), pads=(1,) * 4, bias=True, in_layout="NCHW16c", out_layout="NCHW16c"
    )
    shape = shape_of(spec, (4, 4), 0, row)
    kernel = kernel_of("linear_winograd", shape, cheapest(costs(shape, row), None), (OUTPUT,))
    text = assembly_of(build_object(kernel, "kernel", row), row)
    assert text.count(".s[") >= 40
    assert "#0.25" not in text
