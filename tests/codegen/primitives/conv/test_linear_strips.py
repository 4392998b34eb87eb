"""im2row and kn2row on bytes at every amount of workspace, to the bit, and what they offer."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.primitives.conv.im2row.plan import depth, pieces
from secateur.codegen.primitives.conv.im2row.primitive import IM2ROW
from secateur.codegen.primitives.conv.int8_spec import LinearSpec
from secateur.codegen.primitives.conv.kn2row.blocked import BLOCKED_KN2ROW
from secateur.codegen.primitives.conv.linear_operators import linear_spec
from secateur.codegen.primitives.operator import Constant, Primitive, to_layout
from secateur.codegen.targets.rows import TARGETS
from secateur.ir import interpreter
from secateur.ir.graph import Operator
from secateur.ir.registry import create
from secateur.ir.types import ROW_MAJOR

from ....sampled import sampled
from ...generic_harness import from_layout, function_of, lay_out, run
from ...linear_harness import conv_case, native_targets, overwriting

HERE = native_targets()[0]
VNNI = TARGETS["x86-64-v4-vnni"]
SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}
NAMES = ["im2row", "kn2row"]
CASES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "deep": (((1, 96, 14, 15), 80, (3, 3)), {**SAME, "zero": 7, "residual": True, "result_zero": 9}),
    "far_weights": (((1, 256, 7, 7), 512, (3, 3)), {**SAME, "zero": 3}),
    "image": (((2, 3, 21, 30), 24, (7, 5)), {"pads": (3, 2, 3, 2), "strides": (2, 2), "zero": 128}),
    "thin": (((1, 20, 11, 9), 33, (3, 3)), {"pads": (2, 1, 0, 3), "dilations": (2, 1), "zero": 255}),
}  # fmt: skip


def primitive_of(op: Operator, name: str) -> Primitive:
    return next(p for p in PRIMITIVES.candidates(op) if p.name == name)


def limited(op: Operator, workspace: int) -> Operator:
    """The operator with row-major operands, and that much workspace to take."""
    for value in op.operands:
        value.type = value.type.with_layout(ROW_MAJOR)
    fresh = create(op.name, op.operands, dict(op.attributes))
    fresh.attributes["workspace"] = workspace
    return fresh


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("step", sampled([1, 3], [3]))
def test_every_amount_of_workspace_gives_the_same_bits(step: int, name: str, case: str) -> None:
    """The least, the most, and some between."""
    op, arrays = conv_case(4, *CASES[case][0], **CASES[case][1])
    primitive, want = primitive_of(op, name), interpreter.evaluate(op, arrays)[0]
    costs = sorted(primitive.costs(op, HERE), key=lambda cost: cost.workspace)
    for cost in [*costs[:-1:step], costs[-1]]:
        asked = limited(op, cost.workspace)
        assert primitive.workspace(asked, HERE) == cost.workspace
        np.testing.assert_array_equal(run(primitive, asked, arrays, HERE), want, f"{cost}")


@pytest.mark.parametrize("name", NAMES)
def test_less_than_any_takes_the_least(name: str) -> None:
    """One register tile of pixels, or one row."""
    op, arrays = conv_case(4, *CASES["deep"][0], **CASES["deep"][1])
    primitive = primitive_of(op, name)
    asked = limited(op, 0)
    least = primitive.workspace(asked, HERE)
    assert 0 < least <= 10 * 96 * 9 + 64
    np.testing.assert_array_equal(run(primitive, asked, arrays, HERE), interpreter.evaluate(op, arrays)[0])


@pytest.mark.parametrize("name", NAMES)
def test_tasks_are_independent(name: str) -> None:
    """One call for all gives the bits of one call for each, last first."""
    op, arrays = conv_case(4, *CASES["deep"][0], **CASES["deep"][1])
    primitive = primitive_of(op, name)
    want = run(primitive, op, arrays, HERE)
    layouts, result = primitive.layouts(op, HERE)[0]
    lay_out(op, layouts, result)
    laid = [to_layout(a, layout) for a, layout in zip(arrays, layouts, strict=True)]
    kernel = primitive.kernel(op, HERE)
    buffers = [a.array if isinstance(a, Constant) else laid[a.index] for a in primitive.arguments(op, HERE)]
    out = np.zeros(result.physical_shape(op.result.type.shape), np.uint8)
    pointers = (ctypes.c_void_p * (len(buffers) + 1))(*[b.ctypes.data for b in (*buffers, out)])
    workspace = np.full(kernel.workspace + 64, 0x5A, np.uint8)
    assert kernel.tasks > 1
    function_of(kernel, HERE)(pointers, workspace.ctypes.data + -workspace.ctypes.data % 64, 0, kernel.tasks)
    np.testing.assert_array_equal(from_layout(out, op.result.type), want)


@pytest.mark.parametrize("name", NAMES)
def test_the_result_may_overwrite_the_residual(name: str) -> None:
    case = conv_case(3, (1, 32, 7, 9), 48, (3, 3), **SAME, residual=True, zero=4)
    want = interpreter.evaluate(case[0], case[1])[0]
    np.testing.assert_array_equal(overwriting(case, name, HERE), want)


@pytest.mark.parametrize("byte", [0, 255])
def test_sums_of_extremes_at_the_least_workspace(byte: int) -> None:
    x, w = np.full((1, 64, 4, 5), byte, np.uint8), np.full((16, 64, 3, 3), -127, np.int8)
    op, arrays = conv_case(0, x.shape, 16, (3, 3), **SAME, x=x, w=w, zero=255 - byte)
    for name in NAMES:
        primitive = primitive_of(op, name)
        got = run(primitive, limited(op, 0), arrays, HERE)
        np.testing.assert_array_equal(got, interpreter.evaluate(op, arrays)[0])


# Plans and costs


def spec_of(op: Operator) -> LinearSpec:
    return replace(linear_spec(op), in_layout="NCHW16c", out_layout="NCHW16c")


@pytest.mark.parametrize("name", NAMES)
def test_amounts_fall_while_times_rise(name: str) -> None:
    op, _ = conv_case(0, (1, 256, 14, 14), 256, (3, 3), **SAME)
    costs = primitive_of(op, name).costs(op, VNNI)
    assert 2 <= len(costs) <= 6
    for faster, leaner in pairwise(costs):
        assert leaner.workspace <= faster.workspace / 2
        assert faster.seconds <= leaner.seconds


def test_weights_that_are_streamed_for_each_row_make_kn2row_quicker_than_direct() -> None:
    """Measured so on one AVX512-VNNI core; and slower where a row of the image is long."""
    for shape, filters, quicker in (((1, 512, 7, 7), 512, True), ((1, 64, 56, 56), 64, False)):
        op, _ = conv_case(0, shape, filters, (3, 3), **SAME)
        times = {
            p.name: p.estimate(op, VNNI) for p in PRIMITIVES.candidates(op) if p.name in ("direct", "kn2row")
        }
        assert (times["kn2row"] < times["direct"]) is quicker


@pytest.mark.parametrize("filters", [16, 48, 512])
def test_there_is_work_for_several_threads(filters: int) -> None:
    op, _ = conv_case(0, (1, 32, 28, 28), filters, (3, 3), **SAME)
    spec = spec_of(op)
    assert BLOCKED_KN2ROW.kernel(spec, VNNI).tasks >= 7
    assert IM2ROW.kernel(spec, VNNI).tasks >= 4


def test_pieces_cover_every_byte() -> None:
    for count in range(4, 120, 4):
        for widest in (16, 32, 64):
            found = pieces(count, widest)
            assert {at + i for at, width in found for i in range(width)} == set(range(count))
            assert {width for _, width in found} <= {4, 8, 16, 32, 64}


@pytest.mark.parametrize(
    ("channels", "tap", "joined"), [(3, 4, True), (16, 16, True), (20, 20, False), (15, 16, True)]
)
def test_taps_are_whole_quads(channels: int, tap: int, joined: bool) -> None:
    op, _ = conv_case(0, (1, channels, 9, 9), 16, (3, 3))
    spec = replace(spec_of(op), in_layout="NCHW4c" if channels < 4 else "NCHW16c")
    assert (depth(spec).tap, depth(spec).joined) == (tap, joined)
    assert not depth(replace(spec, dilations=(1, 2))).joined


def test_pixels_do_not_fall_into_the_same_cache_sets() -> None:
    op, _ = conv_case(0, (1, 1024, 7, 7), 16, (2, 2))
    assert depth(spec_of(op)).stride % 4096


# Refusals


@pytest.mark.parametrize("primitive", [IM2ROW, BLOCKED_KN2ROW], ids=NAMES)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"groups": 2}, "2 groups"),
        ({"in_layout": "NCHW"}, "layouts NCHW -> NCHW16c"),
        ({"out_layout": "NCHW8c"}, "layouts NCHW16c -> NCHW8c"),
    ],
)
def test_refusals(primitive: Any, change: dict[str, Any], reason: str) -> None:
    op, _ = conv_case(0, (1, 32, 9, 9), 32, (3, 3))
    assert primitive.applicable(spec_of(op), HERE) is None
    assert primitive.applicable(replace(spec_of(op), **change), HERE) == reason


def test_an_image_of_few_channels_is_copied_from_quads() -> None:
    op, _ = conv_case(0, (1, 3, 9, 9), 32, (3, 3))
    ((operands, _),) = primitive_of(op, "im2row").layouts(op, HERE)
    assert operands[0].name == "NCHW4c"
