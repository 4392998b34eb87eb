"""Kernels in binary16 under qemu-user, within what `docs/ir.md` states of sums in binary16."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.primitives.conv.rows_by_element import LEG
from secateur.codegen.primitives.conv.winograd.float32 import ODD, TALL
from secateur.codegen.primitives.conv.winograd.nest import kernel_of
from secateur.codegen.primitives.specs import HalfConvSpec
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.weights.origin import digits_of
from secateur.ir import interpreter
from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType
from secateur.tools.checks.machine_loops import innermost
from tests.codegen.cross_harness import HALF, Case, check_on, results_on
from tests.codegen.generic_harness import lay_out
from tests.sampled import in_turn

Array = np.ndarray[Any, Any]
SAME = (1, 1, 1, 1)
UNIT = 2.0**-11  # half of the distance of two binary16 near 1
RNG = np.random.default_rng


def value(array: Array, name: str) -> Value:
    return Value(TensorType(array.shape, DType.F16), name)


def constant(array: Array) -> Value:
    return create("nn.constant", [], {"value": array}).result


def halves(rng: np.random.Generator, shape: tuple[int, ...], scale: float = 1.0) -> Array:
    return (rng.standard_normal(shape) * scale).astype(np.float16)


def conv(
    image: tuple[int, ...],
    weights: tuple[int, ...],
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, ...] = (0, 0, 0, 0),
    groups: int = 1,
    residual: bool = False,
) -> tuple[Operator, list[Array]]:
    """A convolution with a bias, a residual or not, and a ReLU."""
    rng = RNG(sum(image) + sum(weights))
    x, w = halves(rng, image), halves(rng, weights, float(np.prod(weights[1:])) ** -0.5)
    bias = halves(rng, (1, weights[0], 1, 1))
    window = {"strides": strides, "pads": pads, "dilations": (1, 1), "groups": groups, "sums": DType.F16}
    values, arrays, steps = [value(x, "x"), constant(w), constant(bias)], [x, w, bias], [Step("add")]
    if residual:
        shape = create("nn.conv", values[:2], window).result.type.shape
        arrays.append(halves(rng, shape))
        values.append(value(arrays[-1], "residual"))
        steps.append(Step("add"))
    return create("nn.conv", values, {**window, "epilogue": (*steps, Step("relu"))}), arrays


def bound(op: Operator, arrays: list[Array], growth: float = 1.0) -> Array:
    """The stated tolerance, element by element: a rounding for each term, of the terms' magnitudes."""
    magnitudes = [np.abs(a).astype(np.float32) for a in arrays]
    terms = 1 + int(np.prod(arrays[1].shape[1:] if "conv" in op.name else arrays[1].shape[:1]))
    values = [Value(TensorType(a.shape), "") for a in magnitudes]
    attributes = {k: v for k, v in op.attributes.items() if k not in ("sums",)}
    wide = create(
        op.name, values, {**attributes, "epilogue": tuple(s for s in op["epilogue"] if s.op == "add")}
    )
    total = interpreter.evaluate(wide, magnitudes)[0]
    return np.asarray(growth * UNIT * (np.sqrt(terms) + 4) * total)


def case(primitive: str, made: tuple[Operator, list[Array]], layouts: int = 0, growth: float = 1.0) -> Case:
    op, arrays = made
    return Case(primitive, op, arrays, layouts, bound(op, arrays, growth))


@pytest.mark.slow
def test_convolutions(tmp_path: Path) -> None:
    cases = [
        case("half_direct", conv((1, 3, 9, 11), (20, 3, 3, 3), pads=SAME)),
        case("half_direct", conv((1, 20, 9, 11), (20, 20, 3, 3), pads=SAME, residual=True)),
        case("half_direct", conv((2, 24, 9, 11), (17, 24, 5, 5), (2, 2), (2, 2, 2, 2))),
        case("half_pointwise", conv((1, 20, 9, 11), (40, 20, 1, 1))),
        case("half_pointwise", conv((1, 20, 9, 11), (40, 20, 1, 1), (2, 2), residual=True)),
        case("half_depthwise", conv((1, 20, 9, 11), (20, 1, 3, 3), pads=SAME, groups=20)),
        case("half_grouped", conv((1, 24, 9, 11), (48, 8, 3, 3), pads=SAME, groups=3)),
        case("half_im2row", conv((1, 20, 9, 11), (40, 20, 3, 3), pads=SAME)),
        case("half_im2row", conv((1, 3, 9, 11), (16, 3, 3, 3), pads=SAME), 1),
        case("half_winograd2", conv((1, 20, 9, 11), (40, 20, 3, 3), pads=SAME, residual=True)),
        case("half_winograd4", conv((1, 20, 9, 11), (40, 20, 3, 3), pads=SAME), growth=4.0),
        case("half_winograd4x2", conv((1, 20, 9, 11), (40, 20, 3, 3), pads=SAME), growth=4.0),
        case("half_winograd6x4", conv((1, 20, 11, 9), (40, 20, 3, 3), pads=SAME), growth=16.0),
        case("half_winograd4", conv((1, 3, 9, 11), (20, 3, 3, 3), pads=SAME), growth=4.0),
        case("half_winograd5", conv((1, 136, 9, 11), (16, 136, 3, 3), pads=SAME), growth=16.0),
        case("half_strided_winograd7", conv((1, 3, 29, 31), (24, 3, 7, 7), (2, 2), (3,) * 4), growth=16.0),
        case("half_strided_winograd6", conv((2, 20, 9, 11), (24, 20, 3, 3), (2, 2), SAME), growth=8.0),
    ]
    check_on(HALF, cases, tmp_path)


def rectified(channels: int, size: int, side: int = 3, stride: int = 1) -> tuple[Operator, list[Array]]:
    """A convolution of rectified noise, and nothing else."""
    x, w = halves(RNG(0), (1, channels, size, size)).clip(0), halves(RNG(1), (16, channels, side, side), 0.05)
    window = {"strides": (stride,) * 2, "pads": (side // 2,) * 4, "dilations": (1, 1), "groups": 1}
    return create("nn.conv", [value(x, "x"), constant(w)], {**window, "sums": DType.F16}), [x, w]


@pytest.mark.slow
@pytest.mark.examples
def test_errors_are_those_that_are_claimed(tmp_path: Path) -> None:
    cases = [
        Case("half_winograd4", *rectified(64, 16)),
        Case("half_winograd5", *rectified(16, 15)),
        Case("half_winograd5", *rectified(128, 15)),
        Case("half_winograd6x4", *rectified(128, 12)),
        Case("half_strided_winograd7", *rectified(3, 30, 7, 2)),
        Case("half_strided_winograd7", *rectified(32, 29, 3, 2)),
    ]
    cases = in_turn(cases, 1, lambda case: case.primitive)
    for case, got in zip(cases, results_on(HALF, cases, tmp_path), strict=True):
        attributes = {k: v for k, v in case.operator.attributes.items() if k != "sums"}
        exact = create("nn.conv", [Value(TensorType(a.shape), "") for a in case.arrays], attributes)
        wanted = interpreter.evaluate(exact, [a.astype(np.float32) for a in case.arrays])[0]
        power = np.square(got - wanted).sum() / np.square(wanted).sum()
        primitive = next(p for p in PRIMITIVES.candidates(case.operator) if p.name == case.primitive)
        assert 0.5 < primitive.noise(case.operator, TARGETS[HALF]) / power < 2, (case.primitive, power)


def chain(shape: tuple[int, ...], *names: str) -> tuple[Operator, list[Array]]:
    steps = tuple(Step(n, (0.0, 6.0) if n == "clip" else ()) for n in names)
    arrays = [halves(RNG(3), shape, 3.0) for _ in range(1 + sum(s.function.arity - 1 for s in steps))]
    values = [value(a, f"x{i}") for i, a in enumerate(arrays)]
    return create("nn.map", values, {"epilogue": steps}), arrays


def one(name: str, image: tuple[int, ...], **attributes: Any) -> tuple[Operator, list[Array]]:
    x = halves(RNG(5), image)
    return create(name, [value(x, "x")], attributes), [x]


POOL = {"kernel": (3, 3), "strides": (2, 2), "pads": SAME, "dilations": (1, 1)}


@pytest.mark.slow
def test_what_stands_between_convolutions_is_the_interpreters_to_the_bit(tmp_path: Path) -> None:
    shape = (1, 20, 9, 11)
    a, b = halves(RNG(1), (1, 24, 5, 7)), halves(RNG(2), (1, 8, 5, 7))
    joined = create("nn.concat", [value(a, "a"), value(b, "b")], {"axis": 1})
    made = [
        Case("elementwise", *chain(shape, "add", "relu")),
        Case("elementwise", *chain(shape, "mul", "clip", "sub")),
        Case("pool_blocked", *one("nn.max_pool", shape, **POOL)),
        Case("copy", joined, [a, b]),
        Case("relayout", *one("nn.relayout", shape)),
        Case("relayout", *one("nn.relayout", shape), layouts=1),
        Case("view", *one("nn.reshape", (1, 20, 1, 1), shape=(1, 20)), layouts=1),
    ]
    check_on(HALF, made, tmp_path)


@pytest.mark.slow
def test_means_and_products_are_near(tmp_path: Path) -> None:
    rng = RNG(7)
    x, w, bias = halves(rng, (2, 67)), halves(rng, (67, 35), 0.1), halves(rng, (35,))
    values = [value(x, "x"), constant(w), constant(bias)]
    dense = create("nn.matmul", values, {"epilogue": (Step("add"), Step("relu")), "sums": DType.F16})
    image = (1, 20, 9, 11)
    made = [
        Case("half_dense", dense, [x, w, bias], atol=bound(dense, [x, w, bias])),
        Case("pool_blocked", *one("nn.average_pool", image, **POOL), atol=2e-3),
        Case("reduce_blocked", *one("nn.reduce_mean", image, axes=(2, 3), keepdims=True), atol=1e-3),
        Case("elementwise", *chain(image, "silu"), atol=1e-2),
    ]
    check_on(HALF, made, tmp_path)


def test_other_cores_are_refused_with_a_reason() -> None:
    op, _ = conv((1, 16, 8, 8), (16, 16, 3, 3), pads=SAME)
    primitive = next(p for p in PRIMITIVES.candidates(op) if p.name == "half_direct")
    assert primitive.applicable(op, TARGETS["rpi4"]) == "no arithmetic in binary16"
    assert primitive.applicable(op, TARGETS["rpi5"]) is None


def test_sums_in_float32_have_no_kernel_of_these() -> None:
    op, _ = conv((1, 16, 8, 8), (16, 16, 3, 3), pads=SAME)
    wide = create(op.name, op.operands, {**op.attributes, "sums": DType.F32})
    refusals = {p.name: p.applicable(wide, TARGETS["rpi5"]) for p in PRIMITIVES.candidates(wide)}
    assert refusals["half_direct"] == "sums in f32"
    assert refusals["naive"] is None


def test_sums_of_many_channels_are_of_few_at_a_time() -> None:
    target = TARGETS["rpi5"].in_half
    shape, plan = ODD.shape(spec_of(256), target), ODD.plan(spec_of(256), target)
    assert plan.channels <= LEG * shape.legs(plan) < 2 * plan.channels
    assert ODD.noise(spec_of(256), target) == ODD.noise(spec_of(64), target) > ODD.noise(spec_of(16), target)


def spec_of(channels: int) -> HalfConvSpec:
    around, block = (1, 1, 1, 1), "NCHW8c"
    return HalfConvSpec(1, channels, 14, 14, 64, (3, 3), pads=around, in_layout=block, out_layout=block)


def half_winograd_assembly(spec: HalfConvSpec, *phases: str) -> str:
    target = TARGETS["rpi5"].in_half
    kernel = kernel_of("k", TALL.shape(spec, target), TALL.plan(spec, target), phases)
    return assembly_of(build_object(kernel, "k", target), target)


def test_channels_of_a_sum_are_one_straight_line_that_ends_four_sums_at_a_time() -> None:
    spec, target = spec_of(128), TARGETS["rpi5"].in_half
    text, plan = half_winograd_assembly(spec, "products"), TALL.plan(spec, target)
    most = max(loop.multiplies for loop in innermost(text, "aarch64"))
    assert most == (LEG - 1) * plan.rows * plan.vectors, "the first begin sums"
    assert len(re.findall(r"st1\t{ (v\d+\.8h, ){3}v\d+\.8h }", text)) >= plan.rows * plan.vectors // 4


def test_pixels_of_a_row_are_loaded_together() -> None:
    text = half_winograd_assembly(spec_of(64), "input")
    assert len(re.findall(r"ld1\t{ (v\d+\.8h, ){3}v\d+\.8h }", text)) >= 8


def test_channels_that_an_image_has_not_are_not_multiplied() -> None:
    image = replace(spec_of(3), in_layout="NCHW")
    target, weights = TARGETS["rpi5"].in_half, np.ones((64, 3, 3, 3), np.float32)
    packed, *_ = ODD.pack(image, target, weights, None)
    assert packed.size == 49 * 64 * 3
    origin = ODD.origin(image, target, weights)
    assert origin.places.channels == digits_of(
        np.arange(3) * ODD.shape(image, target).width(ODD.plan(image, target))
    )


def test_tiles_of_an_image_move_no_elements_between_registers() -> None:
    op, _ = conv((1, 3, 32, 32), (32, 3, 3, 3), pads=SAME)
    target = TARGETS[HALF]
    primitive = next(p for p in PRIMITIVES.candidates(op) if p.name == "half_direct")
    lay_out(op, *primitive.layouts(op, target)[0])
    text = assembly_of(build_object(primitive.kernel(op, target), "k", target), target)
    loops = [loop for loop in innermost(text, "aarch64") if loop.multiplies]
    assert max(loop.others / loop.multiplies for loop in loops) < 0.15


@pytest.mark.parametrize("name", ["half_direct", "half_pointwise", "half_winograd4"])
def test_multiplications_are_of_eight_at_once(name: str) -> None:
    kernel = (1, 1) if name == "half_pointwise" else (3, 3)
    pads = (0, 0, 0, 0) if name == "half_pointwise" else SAME
    op, _ = conv((1, 32, 16, 16), (32, 32, *kernel), pads=pads)
    target = TARGETS[HALF]
    primitive = next(p for p in PRIMITIVES.candidates(op) if p.name == name)
    lay_out(op, *primitive.layouts(op, target)[0])
    text = assembly_of(build_object(primitive.kernel(op, target), "k", target), target)
    assert text.count(".8h") > 20
    assert "fcvt" not in text
    assert "fmax\t" in text
    assert "fcm" not in text, "a ReLU is one instruction"


def test_a_largest_element_is_found_by_one_instruction_a_vector() -> None:
    op, _ = one("nn.max_pool", (1, 32, 17, 17), **POOL)
    target = TARGETS[HALF]
    (primitive,) = (p for p in PRIMITIVES.candidates(op) if p.name == "pool_blocked")
    lay_out(op, *primitive.layouts(op, target)[0])
    text = assembly_of(build_object(primitive.kernel(op, target), "k", target), target)
    assert text.count("fmax\t") > 3
    assert "fcm" not in text


def test_layouts_of_operators_in_binary16_are_of_eight_channels() -> None:
    op, _ = chain((1, 20, 9, 11), "relu")
    (primitive,) = (p for p in PRIMITIVES.candidates(op) if p.name == "elementwise")
    found = {str(result) for _, result in primitive.layouts(op, TARGETS["rpi5"])}
    assert found == {"NCHW8c", "NCHW"}
    without = replace(TARGETS["rpi5"], machine=TARGETS["rpi4"].machine)
    assert {str(result) for _, result in primitive.layouts(op, without)} == {"NCHW"}
