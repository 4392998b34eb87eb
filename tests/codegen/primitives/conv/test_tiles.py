"""Convolutions by registers of tiles: their bits on any machine, the instructions, how a strip is copied."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.conv.int8_spec import LinearSpec
from secateur.codegen.primitives.conv.linear_operators import linear_spec
from secateur.codegen.primitives.conv.tiles.plan import Copied, costs
from secateur.codegen.primitives.conv.tiles.primitive import TILES, packed
from secateur.codegen.targets.isa import AMX
from secateur.codegen.targets.rows import PROCESSORS, TARGETS
from secateur.ir import interpreter
from secateur.ir.graph import Operator

from ....sampled import sampled
from ...generic_harness import lay_out
from ...instructions import refused
from ...linear_harness import check_case, conv_case, overwriting
from .test_linear_conv import CONVOLUTIONS, SAME

ROW = TARGETS["x86-64-v4-amx"]
MORE: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "one vector of filters": (((2, 16, 9, 11), 16, (3, 3)), {**SAME, "zero": 3}),
    "three": (((1, 48, 7, 7), 48, (3, 3)), {**SAME, "zero": 3, "residual": True}),
    "parts of the filters": (((1, 64, 6, 7), 256, (1, 1)), {"zero": 9, "result_zero": 4}),
    "several chunks": (((1, 144, 5, 6), 32, (2, 1)), {"zero": 9}),
    "many channels": (((1, 1024, 3, 3), 32, (3, 3)), {**SAME, "zero": 255}),
    "rows modulo 2": (((1, 64, 9, 8), 32, (3, 3)), {**SAME, "strides": (2, 2), "zero": 1}),
}


def operator(*case: Any, **more: Any) -> Operator:
    op, _ = conv_case(1, *case, **more)
    lay_out(op, *primitive(op).layouts(op, ROW)[0])
    return op


def primitive(op: Operator) -> Any:
    return next(p for p in PRIMITIVES.candidates(op) if p.name == "tiles")


def spec(*case: Any, **more: Any) -> LinearSpec:
    return linear_spec(operator(*case, **more))


def assembly(kernel: Kernel) -> str:
    return assembly_of(build_object(kernel, "k", ROW), ROW)


@pytest.mark.parametrize("name", sampled({**CONVOLUTIONS, **MORE}, {*CONVOLUTIONS, *MORE} - {"same"}))
def test_answers_are_the_interpreters(name: str) -> None:
    shapes, more = {**CONVOLUTIONS, **MORE}[name]
    if "groups" not in more:
        assert check_case(conv_case(1, *shapes, **more), ROW, only="tiles") == {"tiles"}


@pytest.mark.parametrize("byte", [0, 255])
def test_sums_of_extremes(byte: int) -> None:
    x, w = np.full((1, 64, 4, 5), byte, np.uint8), np.full((16, 64, 3, 3), -128, np.int8)
    check_case(conv_case(0, x.shape, 16, (3, 3), **SAME, x=x, w=w, zero=255 - byte), ROW, only="tiles")


def test_the_result_may_overwrite_the_residual() -> None:
    case = conv_case(3, (1, 32, 7, 9), 48, (3, 3), **SAME, residual=True, zero=4)
    want = interpreter.evaluate(case[0], case[1])[0]
    np.testing.assert_array_equal(overwriting(case, "tiles", ROW), want)


def test_a_step_is_four_products_and_four_loads(tmp_path: Path) -> None:
    """Of the last 16 pixels two and three; sums stay in their registers until they are stored."""
    op = operator((1, 64, 8, 8), 64, (3, 3), **SAME)
    text = assembly(primitive(op).kernel(op, ROW))
    blocks = [block for block in re.split(r"^\.L\w+:", text, flags=re.M) if "tdpbusd" in block]
    found = {(block.count("tdpbusd"), block.count("tileloadd")) for block in blocks}
    assert found == {(9 * 4, 9 * 4), (9 * 2, 9 * 3)}
    assert text.count("tilestored") == 4 + 2
    assert text.count("ldtilecfg") == text.count("tilerelease") == 1
    assert "vpdpbusd" not in text
    assert refused(text, ROW, tmp_path) == []
    assert "tdpbusd requires amx-int8" in refused(text, TARGETS["x86-64-v4-vnni"], tmp_path)


@pytest.mark.parametrize("name", PROCESSORS)
def test_rows_without_tiles_have_none(name: str) -> None:
    op = operator((1, 64, 8, 8), 64, (3, 3), **SAME)
    found = primitive(op).applicable(op, TARGETS[name])
    assert (found is None) == ("amx-int8" in TARGETS[name].features)


def test_groups_are_refused() -> None:
    assert TILES.applicable(replace(spec((1, 64, 8, 8), 64, (3, 3)), groups=2), ROW) == "2 groups"


@pytest.mark.parametrize(
    ("case", "more", "least"),
    [
        (((1, 64, 56, 56), 64, (3, 3)), SAME, 2.0),
        (((1, 512, 7, 7), 512, (3, 3)), SAME, 2.0),
        (((1, 960, 7, 7), 320, (1, 1)), {}, 1.5),
        (((1, 3, 224, 224), 64, (7, 7)), {"pads": (3, 3, 3, 3), "strides": (2, 2)}, 1.5),
        (((1, 3, 224, 224), 32, (3, 3)), {**SAME, "strides": (2, 2)}, 0.0),
        (((1, 16, 55, 55), 64, (1, 1)), {}, 0.0),
    ],
)
def test_tiles_are_chosen_where_they_are_faster(case: Any, more: dict[str, Any], least: float) -> None:
    """Measured so on one core that has them: up to four times as fast, and slower with few channels."""
    op, _ = conv_case(1, *case, **more)
    times = {p.name: p.estimate(op, ROW) for p in PRIMITIVES.candidates(op) if p.applicable(op, ROW) is None}
    gain = min(seconds for name, seconds in times.items() if name != "tiles") / times["tiles"]
    assert gain > least if least else gain < 1


# How a strip's image lies


def test_padding_behind_a_row_is_that_before_the_next() -> None:
    copied = Copied(spec((1, 64, 7, 7), 64, (3, 3), **SAME), 7, AMX)
    assert (copied.width, copied.pixels, copied.needed, copied.lines) == (8, 8, 9, 9)


def test_rows_of_a_stride_lie_apart() -> None:
    copied = Copied(spec((1, 64, 56, 56), 64, (3, 3), **SAME, strides=(2, 2)), 4, AMX)
    assert (copied.phases, copied.lines, copied.stride, copied.width) == (2, 5, 2, 58)


def test_columns_that_a_stride_skips_are_not_copied() -> None:
    copied = Copied(spec((1, 64, 56, 56), 64, (1, 1), strides=(2, 2)), 4, AMX)
    assert (copied.phases, copied.lines, copied.stride, copied.width) == (1, 4, 1, 28)


def test_taps_of_few_channels_are_multiplied_side_by_side() -> None:
    stem = Copied(spec((1, 3, 32, 32), 64, (7, 7), pads=(3, 3, 3, 3), strides=(2, 2)), 4, AMX)
    assert (stem.apart, stem.run, stem.chunks, stem.steps) == (False, 28, 1, 7)
    assert Copied(spec((1, 16, 9, 9), 16, (3, 3)), 4, AMX).steps == 3


def test_pixels_do_not_share_cache_sets() -> None:
    assert Copied(spec((1, 1024, 7, 7), 64, (1, 1)), 7, AMX).pitch == 1024 + 64


def test_weights_lie_as_products_take_them() -> None:
    """[group][step][tile][quad of channels][filter][4]: a group of two tiles, then one of one."""
    conv = spec((1, 64, 5, 5), 48, (1, 1))
    weights = np.arange(48 * 64, dtype=np.int64).astype(np.int8).reshape(48, 64, 1, 1)
    found = packed(weights, Copied(conv, 1, AMX)).reshape(3, 16, 16, 4)
    for tile, quad, filter, byte in ((0, 3, 5, 1), (1, 0, 15, 3), (2, 15, 0, 2)):
        assert found[tile, quad, filter, byte] == weights[tile * 16 + filter, quad * 4 + byte, 0, 0]


def test_less_workspace_takes_longer_strips_apart() -> None:
    found = costs(spec((1, 64, 56, 56), 64, (3, 3), **SAME), ROW)
    assert min(found.values(), key=lambda c: c.workspace).workspace < 24 << 10
    assert {strip.rows for strip in found} >= {1, 2, 4, 7, 8, 14, 28, 56}
