"""8-bit convolutions and dense layers against the interpreter, to the bit, on every instruction set here."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.primitives.conv.direct import DIRECT
from secateur.codegen.primitives.conv.int8_spec import column_classes, starts
from secateur.codegen.primitives.conv.linear_operators import linear_spec
from secateur.codegen.primitives.conv.pointwise import POINTWISE
from secateur.codegen.primitives.conv.tile import channel_steps
from secateur.codegen.primitives.operator import constant_of
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.codegen.tvm_lowering import lower
from secateur.ir import interpreter
from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, Layout
from secateur.tools.checks.machine_loops import hottest, innermost

from ....sampled import examples, sampled, sampled_rows
from ...generic_harness import lay_out
from ...linear_harness import (
    Array,
    activation,
    check_case,
    conv_case,
    matmul_case,
    native_targets,
    overwriting,
)

TARGETS_HERE = native_targets()
every_target = pytest.mark.parametrize("target", TARGETS_HERE, ids=[t.name for t in TARGETS_HERE])
SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}

CONVOLUTIONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "same": (((1, 32, 9, 11), 40, (3, 3)), {**SAME}),
    "border": (((1, 20, 6, 11), 33, (3, 3)), {**SAME, "zero": 7, "residual": True, "residual_zero": 3,
                                              "result_zero": 9}),
    "stride": (((2, 20, 12, 13), 33, (3, 3)), {"pads": (0, 1, 1, 0), "strides": (2, 2), "zero": 200}),
    "image": (((1, 3, 13, 20), 24, (5, 7)), {"pads": (2, 3, 2, 3), "strides": (2, 3), "zero": 11}),
    "flat": (((1, 40, 7, 9), 80, (1, 1)), {"zero": 3, "limits": (3, 240), "result_zero": 3}),
    "strips": (((1, 16, 20, 23), 64, (1, 1)), {"residual": True}),
    "pointwise_stride": (((1, 24, 9, 10), 48, (1, 1)), {"strides": (2, 3), "zero": 128}),
    "groups": (((1, 40, 6, 5), 36, (3, 3)), {**SAME, "groups": 4, "zero": 3}),
    "beyond_image": (((1, 16, 3, 4), 16, (5, 5)), {"pads": (2, 2, 2, 2), "zero": 5}),
    "beyond_kernel": (((1, 8, 4, 4), 16, (3, 3)), {"pads": (4, 4, 4, 4), "zero": 5}),
    "dilated": (((1, 8, 15, 14), 16, (3, 3)), {"dilations": (2, 3), "pads": (2, 3, 1, 4), "zero": 5}),
    "row": (((1, 9, 17), 20, (3,)), {"pads": (2, 1), "strides": (2,), "dilations": (2,), "zero": 6}),
    "real": (((1, 16, 5, 6), 21, (3, 3)), {**SAME, "real": True, "zero": 9, "residual": True,
                                           "residual_zero": 8}),
}  # fmt: skip


@every_target
@pytest.mark.parametrize("name", sampled(CONVOLUTIONS, {*CONVOLUTIONS} - {"same", "flat", "beyond_image"}))
def test_convolution(name: str, target: Target) -> None:
    shapes, more = CONVOLUTIONS[name]
    check_case(conv_case(1, *shapes, **more), target)


@examples(4, 12, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_convolution(data: st.DataObject) -> None:
    draw = data.draw
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 5]))
    kernel, dilations = draw(pair), draw(pair)
    pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
    size = [
        draw(st.integers(max(1, d * (k - 1) + 1 - before - after), 12))
        for k, d, before, after in zip(kernel, dilations, pads[:2], pads[2:], strict=True)
    ]
    shape = (draw(st.integers(1, 2)), groups * draw(st.integers(1, 9)), *size)
    limits = sorted(draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    case = conv_case(
        draw(st.integers(0, 99)), shape, groups * draw(st.integers(1, 12)), kernel, groups=groups,
        strides=draw(pair), dilations=dilations, pads=pads, zero=draw(st.integers(0, 255)),
        result_zero=draw(st.integers(0, 255)), limits=(limits[0], limits[1]), residual=draw(st.booleans()),
        residual_zero=draw(st.integers(0, 255)), real=draw(st.booleans()),
    )  # fmt: skip
    check_case(case, draw(st.sampled_from(TARGETS_HERE)))


@pytest.mark.parametrize(
    ("channels", "filters"),
    sampled_rows(product((8, 24), (8, 24, 40)), lambda *row: row in ((24, 8), (8, 40))),
)
def test_filters_that_leave_half_of_a_block_empty(channels: int, filters: int) -> None:
    """As pruned layers have: an empty vector of filters is cleared, channels of none are not multiplied."""
    target = TARGETS["x86-64-v3"]
    case = conv_case(1, (1, channels, 6, 9), filters, (3, 3), **SAME, zero=7, result_zero=5, residual=True)
    spec = replace(linear_spec(case[0]), in_layout="NCHW16c", out_layout="NCHW16c")
    assert spec.filter_groups(target.lanes, 1) == filters // 8
    assert spec.filter_vectors(target.lanes) == filters // 8 + 1
    assert channel_steps(spec, DIRECT.arithmetic(spec, target)) == channels // 4
    if target in TARGETS_HERE:
        check_case(case, target)


@cache
def armv7_code() -> str:
    target, (op, _) = TARGETS["armv7-a+neon"], conv_case(1, (1, 32, 8, 8), 32, (3, 3), **SAME)
    primitive = next(p for p in PRIMITIVES.candidates(op) if p.name == "direct")
    lay_out(op, *primitive.layouts(op, target)[-1])
    return assembly_of(build_object(primitive.kernel(op, target), "k", target), target)


def test_no_lane_passes_through_a_core_register() -> None:
    """Which LLVM would do with the pairs of bytes that ARMv7 multiplies."""
    assert "vdup.16" in armv7_code()
    assert "vmov.u16" not in armv7_code()
    assert all(loop.spills == 0 for loop in innermost(armv7_code(), "armv7"))


def test_products_do_not_wait_for_the_last() -> None:
    """As the Cortex-A7 starts in order; nor do sums of pairs."""
    written = list[str]()
    for line in hottest(innermost(armv7_code(), "armv7")).instructions:
        name, *registers = line.replace(",", " ").split()
        if name in ("vmlal.s8", "vpadal.s16"):
            assert registers[name.startswith("vpadal")] not in written[-1:]
        if name in ("vmull.s8", "vmlal.s8", "vpadal.s16"):
            written.append(registers[0])
    assert len(written) == 48


@pytest.mark.every_row
@pytest.mark.parametrize(
    ("target", "byte"),
    sampled_rows(product(TARGETS_HERE, (0, 255)), lambda target, byte: byte or target is TARGETS_HERE[0]),
    ids=lambda value: getattr(value, "name", None),
)
@pytest.mark.parametrize("weight", [-127, 127])
def test_extremes(byte: int, weight: int, target: Target) -> None:
    """The largest sums there are; the results saturate."""
    x = np.full((1, 64, 4, 5), byte, np.uint8)
    w = np.full((16, 64, 3, 3), weight, np.int8)
    op, arrays = conv_case(0, x.shape, 16, (3, 3), **SAME, x=x, w=w, zero=255 - byte)
    want = interpreter.evaluate(op, arrays)[0]
    assert set(np.unique(want)) <= {0, 255}
    check_case((op, arrays), target)


@pytest.mark.parametrize(("size", "kernel"), [((3, 4), (3, 3)), ((5, 5), (1, 1))])
def test_weights_asked_for_ahead(size: tuple[int, int], kernel: tuple[int, int]) -> None:
    """Weights beyond half of the second-level cache are prefetched while others are used."""
    pads, channels = (kernel[0] // 2,) * 4, 256 if kernel == (3, 3) else 1024
    case = conv_case(0, (1, channels, *size), 528, kernel, pads=pads)
    spec = replace(linear_spec(case[0]), in_layout="NCHW16c", out_layout="NCHW16c")
    primitive: Any = DIRECT if kernel == (3, 3) else POINTWISE
    assert primitive.tiling(spec, TARGETS["x86-64-v4-vnni"]).ahead
    check_case(case, TARGETS_HERE[0], only=primitive.name)


def test_a_sum_is_converted_once() -> None:
    """Sums beyond 2^24 are rounded to float32 before they are scaled, as the reference does."""
    x = np.full((1, 2048, 1, 1), 255, np.uint8)
    w = np.full((16, 2048, 1, 1), 127, np.int8)
    w[:, 0] = np.arange(16)[:, None, None]
    check_case(conv_case(0, x.shape, 16, (1, 1), x=x, w=w, real=True), TARGETS_HERE[0])


@every_target
@pytest.mark.parametrize(
    ("shape", "more"),
    [
        ((1, 131, 100), {"zero": 3}),
        ((1, 7, 3), {"real": True}),
        ((1, 512, 64), {"result_zero": 11, "limits": (11, 200)}),
        ((3, 64, 128), {"zero": 200, "result_zero": 9}),
        ((37, 33, 70), {}),
        ((2, 3, 16), {"zero": 1}),
    ],
    ids=["one_row", "tiny", "limits", "few_rows", "many_rows", "less_than_a_quad"],
)
def test_dense(shape: tuple[int, int, int], more: dict[str, Any], target: Target) -> None:
    check_case(matmul_case(2, *shape, **more), target)


# The reference is an oracle only as far as wrong answers differ


def _reference_of(change: str) -> Array:
    """The interpreter's answer for the case of the next test, with one operand that is not the kernel's."""
    zero = 8 if change == "zero" else 7
    op, arrays = conv_case(1, (1, 20, 6, 11), 33, (3, 3), **SAME, zero=zero, residual=True)
    if change != "zero":
        number = {"image": 0, "weights": 1, "bias": 2, "residual": 3}[change]
        arrays[number] = arrays[number] + np.asarray(90, arrays[number].dtype)
    return interpreter.evaluate(op, arrays)[0]


@pytest.mark.parametrize("change", ["zero", "image", "weights", "bias", "residual"])
def test_a_wrong_operand_is_seen(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = conv_case(1, (1, 20, 6, 11), 33, (3, 3), **SAME, zero=7, residual=True)
    wrong = _reference_of(change)
    monkeypatch.setattr(interpreter, "evaluate", lambda _op, _arrays: [wrong])
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        check_case(case, TARGETS_HERE[-1], only="direct")


# Where sums start


def test_starts_cover_every_set_of_taps() -> None:
    op, _ = conv_case(0, (1, 4, 5, 7), 3, (3, 3), pads=(1, 1, 1, 2), zero=9)
    spec, weights = linear_spec(op), constant_of(op.operands[1])
    assert weights is not None
    assert column_classes(spec) == [(0,), (0, 1), (0, 1, 2), (1, 2)]
    table = starts(spec, weights, np.zeros(3, np.int32), 9)
    assert table.shape == (4, 2, 4, 16)
    inner = weights.astype(int)[:, :, 1:, :2].sum((1, 2, 3))  # rows 1 to 2, columns 0 to 1
    np.testing.assert_array_equal(table[1, 0, 3, :3] + table[1, 1, 1, :3], -9 * inner)
    assert not table[..., 3:].any()


@pytest.mark.parametrize(("zero", "pads"), [(0, (1, 1, 1, 1)), (9, (0, 0, 0, 0))])
def test_starts_are_a_vector_where_borders_do_not_matter(zero: int, pads: tuple[int, ...]) -> None:
    op, _ = conv_case(0, (1, 4, 5, 7), 3, (3, 3), pads=pads, zero=zero)
    weights = constant_of(op.operands[1])
    assert weights is not None
    assert starts(linear_spec(op), weights, np.zeros(3, np.int32), zero).shape == (16,)


# In place


@every_target
def test_the_result_may_overwrite_the_residual(target: Target) -> None:
    case = conv_case(3, (1, 32, 7, 9), 48, (3, 3), **SAME, residual=True, zero=4)
    want = interpreter.evaluate(case[0], case[1])[0]
    np.testing.assert_array_equal(overwriting(case, "direct", target), want)


def test_only_what_is_overwritten_loses_noalias() -> None:
    op, _ = conv_case(3, (1, 32, 7, 9), 48, (3, 3), residual=True)
    primitive = next(p for p in PRIMITIVES.candidates(op) if p.name == "direct")
    target = TARGETS_HERE[0]
    lay_out(op, *primitive.layouts(op, target)[-1])
    kernel = primitive.kernel(op, target)
    texts = [lower(k, "k", target) for k in (kernel, replace(kernel, overwritten=(1,)))]
    marks = [[("noalias" in p) for p in _pointers(text)] for text in texts]
    assert marks[0] == [True] * 8
    assert marks[1] == [True, False, True, True, True, True, False, True]


def _pointers(text: str) -> list[str]:
    head = next(line for line in text.splitlines() if line.startswith("define"))
    return [p for p in head.split("(", 1)[1].split(", ") if p.startswith("ptr")]


# Selection


def _offered(op: Operator, target: Target) -> dict[str, set[tuple[str, str]]]:
    return {
        p.name: {(operands[0].name, result.name) for operands, result in p.layouts(op, target)}
        for p in PRIMITIVES.candidates(op)
        if p.applicable(op, target) is None
    }


@pytest.mark.parametrize("name", ["x86-64-v3", "armv8-a"])
def test_blocks_are_of_16_whatever_the_vectors(name: str) -> None:
    op, _ = conv_case(0, (1, 32, 9, 9), 32, (3, 3))
    real, _ = conv_case(0, (1, 32, 9, 9), 32, (3, 3), real=True)
    target = TARGETS[name]
    assert _offered(op, target)["direct"] == {("NCHW16c", "NCHW16c")}
    assert _offered(real, target)["direct"] == {("NCHW16c", f"NCHW{target.lanes}c")}


def test_few_channels_come_in_quads() -> None:
    op, _ = conv_case(0, (1, 3, 9, 9), 32, (3, 3))
    assert ("NCHW4c", "NCHW16c") in _offered(op, TARGETS_HERE[0])["direct"]


def test_bytes_are_estimated_quicker_than_floats() -> None:
    target = TARGETS["x86-64-v4-vnni"]
    op, _ = conv_case(0, (1, 64, 56, 56), 64, (3, 3), **SAME)
    direct = next(p for p in PRIMITIVES.candidates(op) if p.name == "direct")
    macs = op.macs
    peak = target.clock_ghz * 1e9 * target.fma_per_cycle * target.lanes
    assert macs / (4 * peak) < direct.estimate(op, target) < macs / (2 * peak)


# Refusals


def _reasons(op: Operator) -> dict[str, str | None]:
    return {p.name: p.applicable(op, TARGETS_HERE[0]) for p in PRIMITIVES.candidates(op)}


def test_pointwise_refuses_kernels_and_padding() -> None:
    assert "kernel (3, 3)" in str(_reasons(conv_case(0, (1, 8, 4, 4), 8, (3, 3))[0])["pointwise"])
    assert "pads" in str(_reasons(conv_case(0, (1, 8, 4, 4), 8, (1, 1), **SAME)[0])["pointwise"])


def test_direct_refuses_groups_and_grouped_a_single_one() -> None:
    assert _reasons(conv_case(0, (1, 8, 4, 4), 8, (3, 3), groups=2)[0])["direct"] == "2 groups"
    assert _reasons(conv_case(0, (1, 8, 4, 4), 8, (3, 3))[0])["grouped"] == "a single group"


def test_weights_must_be_constant() -> None:
    op, _ = conv_case(0, (1, 8, 4, 4), 8, (3, 3))
    operands = op.operands
    computed = activation((8,), name="bias")
    computed.type = operands[2].type
    op.operands = [*operands[:2], computed]
    assert _reasons(op)["direct"] == "needs constant weights and bias"
    product, _ = matmul_case(0, 1, 4, 4)
    product.operands = [*product.operands[:2], computed]
    assert _reasons(product)["dense"] == "needs constant weights and bias"


def test_other_ranks_are_refused() -> None:
    window: dict[str, Any] = {"pads": (0,) * 6, "strides": (1,) * 3, "dilations": (1,) * 3}
    op, _ = conv_case(0, (1, 8, 4, 4, 4), 8, (3, 3, 3), **window)
    assert _reasons(op)["direct"] == "an input of rank 5"


def test_other_layouts_are_refused() -> None:
    op, _ = conv_case(0, (1, 32, 9, 9), 32, (3, 3))
    lay_out(op, [Layout("NCHW8c"), ROW_MAJOR, ROW_MAJOR], Layout("NCHW16c"))
    direct: Any = next(p for p in PRIMITIVES.candidates(op) if p.name == "direct")
    reason = direct.primitive.applicable(linear_spec(op), TARGETS_HERE[0])
    assert reason == "layouts NCHW8c -> NCHW16c"
