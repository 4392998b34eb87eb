"""Winograd in whole numbers: the algebra, the room that it needs, and the bits of the direct sums."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.primitives.conv.int8_spec import FEW
from secateur.codegen.primitives.conv.winograd.exact import EXACT, EXACT_IMAGE, EXACT_STEM, ExactConvolution
from secateur.codegen.primitives.conv.winograd.integers import (
    INTEGERS,
    Ends,
    Integers,
    Rows,
    largest_sum,
    transformed,
)
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.codegen.tvm_lowering import lower, tir_text
from secateur.codegen.vector.words import word_step
from secateur.ir.graph import Operator
from secateur.tools.checks.machine_loops import innermost

from ....sampled import examples, in_turn, sampled, sampled_rows
from ...cross_harness import EMULATORS, Case, check_on
from ...generic_harness import lay_out
from ...linear_harness import check_case, conv_case, native_targets

HERE = [target for target in native_targets() if target.isa.words]
NAMES = [primitive.name for primitive in EXACT]
TILES = [primitive.tile for primitive in EXACT]
SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}
every_name = pytest.mark.parametrize("name", NAMES)
every_form = pytest.mark.parametrize("form", INTEGERS.values(), ids=lambda f: f"F({f.outputs},{f.taps})")
STEM: dict[str, Any] = {"strides": (2, 2), "pads": (3, 3, 3, 3)}


def convolution(name: str) -> ExactConvolution:
    every = (*EXACT, EXACT_IMAGE, EXACT_STEM)
    return next(ExactConvolution(primitive) for primitive in every if primitive.name == name)


# The algebra


@every_form
def test_it_is_the_convolution_times_its_scales(form: Integers) -> None:
    """Both sides are linear in d and in g: what holds for all unit vectors holds."""
    a_t, g, b_t = (np.array(m) for m in (form.a_t, form.g, form.b_t))
    for d, k in itertools.product(np.eye(len(g), dtype=int), np.eye(form.taps, dtype=int)):
        wanted = np.convolve(d, k[::-1], "valid") * form.odd * 2 ** np.array(form.shifts)
        np.testing.assert_array_equal(a_t @ ((g @ k) * (b_t @ d)), wanted)


def _g(form: Integers) -> Rows:
    return form.g


def _b_t(form: Integers) -> Rows:
    return form.b_t


def test_everything_has_room() -> None:
    g, b_t = (max(sum(map(abs, row)) for f in INTEGERS.values() for row in rows(f)) for rows in (_g, _b_t))
    assert 255 * b_t**2 < 2**15
    assert 128 * g**2 < 2**15
    assert 2 * 255 * b_t**2 * 128 * g**2 < 2**31


@pytest.mark.parametrize("tile", [*TILES, EXACT_STEM.tile])
def test_the_inverse_takes_the_odd_factor_away(tile: tuple[int, int]) -> None:
    odd = INTEGERS[tile[0]].odd * INTEGERS[tile[1]].odd
    assert (Ends(tile).inverse * odd) % 2**32 == 1
    assert Ends(tile).limit << max(itertools.starmap(Ends(tile).shift, np.ndindex(tile))) == 2**31


def test_the_largest_sum_is_reached() -> None:
    weights = np.array([[[[3]], [[-5]]], [[[1]], [[1]]]], np.int8)
    sums = [abs(3 * (a - 9) - 5 * (b - 9)) for a in (0, 255) for b in (0, 255)]
    assert largest_sum(weights, 9) == max(sums)


@pytest.mark.parametrize("tile", [*TILES, EXACT_STEM.tile])
def test_what_the_shared_product_takes_reaches_every_result_alike(tile: tuple[int, int]) -> None:
    (down, across), ends = (INTEGERS[m] for m in tile), Ends(tile)
    products = np.zeros((len(down.g), len(across.g)), np.int64)
    products[1, 1] = ends.shared
    results = np.array(down.a_t) @ products @ np.array(across.a_t).T
    scales = [(down.odd * across.odd) << ends.shift(*place) for place in np.ndindex(tile)]
    np.testing.assert_array_equal(results.ravel(), scales)


def test_a_bias_counts_among_the_sums() -> None:
    (op, arrays), limit = conv_case(1, (1, 16, 6, 6), 16, (3, 3), **SAME), Ends((4, 4)).limit
    arrays[2][3] = limit - 1
    bias = op.operands[2].producer
    assert bias is not None
    bias["value"][3] = limit - 1
    reason = convolution("exact_winograd4x4").applicable(op, TARGETS["rpi4"])
    assert reason is not None
    assert reason.endswith(f"of which less than {limit} are exact")


def test_weights_are_transformed_in_full() -> None:
    weights = np.full((1, 1, 3, 3), -128, np.int8)
    assert np.abs(transformed(weights, (4, 4))).max() == 128 * 49


# Bits


@every_name
@pytest.mark.parametrize("target", HERE, ids=lambda t: t.name)
def test_bits(name: str, target: Target) -> None:
    check_case(conv_case(1, (1, 32, 9, 11), 40, (3, 3), **SAME), target, only=name)
    more = {**SAME, "zero": 7, "residual": True, "residual_zero": 3, "result_zero": 9}
    check_case(conv_case(2, (2, 20, 6, 11), 33, (3, 3), **more), target, only=name)


@pytest.mark.parametrize("target", sampled(HERE, HERE[-1:]), ids=lambda t: t.name)
def test_bits_of_a_stem(target: Target) -> None:
    """A network's first layer; tiles at every border, and a kernel whose phases all have four taps."""
    name = EXACT_STEM.name
    more = {**STEM, "zero": 7, "result_zero": 9, "residual": True, "residual_zero": 3}
    check_case(conv_case(1, (1, 3, 29, 34), 24, (7, 7), **more), target, only=name)
    other: dict[str, Any] = {"strides": (2, 2), "pads": (1, 2, 0, 3), "zero": 200, "real": True}
    check_case(conv_case(2, (2, 2, 12, 19), 20, (8, 7), **other), target, only=name)


def test_bits_of_an_image() -> None:
    """Of three channels and of one, where vectors are as long as a pixel."""
    target, *_ = [target for target in HERE if target.lanes == FEW]
    more = {**SAME, "zero": 7, "result_zero": 9, "residual": True, "residual_zero": 3}
    check_case(conv_case(1, (1, 3, 13, 18), 24, (3, 3), **more), target, only=EXACT_IMAGE.name)
    check_case(conv_case(2, (2, 1, 9, 6), 20, (3, 3), zero=200, real=True), target, only=EXACT_IMAGE.name)


@every_name
@pytest.mark.parametrize(
    ("zero", "weight"),
    sampled_rows(itertools.product((0, 255), (-128, 127)), lambda *row: row == (255, -128)),
)
def test_sums_on_the_way_wrap(name: str, zero: int, weight: int) -> None:
    """The largest sums there are: times 576 they are far beyond int32."""
    x, w = np.full((1, 64, 6, 9), 255 - zero, np.uint8), np.full((16, 64, 3, 3), weight, np.int8)
    case = conv_case(0, x.shape, 16, (3, 3), **SAME, x=x, w=w, zero=zero, real=True)
    check_case(case, HERE[0], only=name)


@examples(3, 8, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_convolution(data: st.DataObject) -> None:
    draw = data.draw
    size, pads = draw(st.tuples(*[st.integers(3, 12)] * 2)), draw(st.tuples(*[st.integers(0, 2)] * 4))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 40)), *size)
    case = conv_case(
        draw(st.integers(0, 99)), shape, draw(st.integers(1, 40)), (3, 3), pads=pads,
        zero=draw(st.integers(0, 255)), residual=draw(st.booleans()), real=draw(st.booleans()),
    )  # fmt: skip
    check_case(case, draw(st.sampled_from(HERE)), only=draw(st.sampled_from(NAMES)))


WORDS = [name for name in EMULATORS if TARGETS[name].isa.words]


@pytest.mark.slow  # the first link for a target builds its libc: minutes
@pytest.mark.examples
@pytest.mark.parametrize("target", WORDS)
def test_arm_gives_the_interpreters_bits(target: str, tmp_path: Path) -> None:
    more = {**SAME, "zero": 7, "residual": True, "residual_zero": 3, "result_zero": 9}
    extreme: dict[str, Any] = {
        "x": np.full((1, 64, 6, 9), 255, np.uint8),
        "w": np.full((16, 64, 3, 3), -127, np.int8),
    }
    any_weights = conv_case(1, (1, 20, 9, 11), 24, (3, 3), **more)
    largest = conv_case(0, (1, 64, 6, 9), 16, (3, 3), **SAME, **extreme, real=True)
    stem = conv_case(3, (1, 3, 29, 34), 24, (7, 7), **{**more, **STEM})
    image = conv_case(3, (1, 3, 13, 18), 24, (3, 3), **more)
    cases = [*((name, any_weights) for name in NAMES), (NAMES[-1], largest), (EXACT_STEM.name, stem)]
    cases.append((EXACT_IMAGE.name, image))
    some = in_turn(cases, WORDS.index(target), type)
    check_on(target, [Case(name, *case) for name, case in some], tmp_path)


# What is refused


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"kernel": (5, 5)}, "kernel (5, 5)"),
        ({"strides": (2, 1)}, "strides (2, 1)"),
        ({"dilations": (2, 2)}, "dilations (2, 2)"),
        ({"groups": 2}, "2 groups"),
    ],
)
def test_other_convolutions_are_refused(more: dict[str, Any], why: str) -> None:
    given = {"kernel": (3, 3), **more}
    op, _ = conv_case(1, (1, 16, 9, 9), 16, given.pop("kernel"), **given)
    assert why in str(convolution("exact_winograd4x4").applicable(op, HERE[-1]))


def test_an_image_has_few_channels_and_no_vectors_are_longer() -> None:
    image, wide = convolution(EXACT_IMAGE.name), TARGETS["x86-64-v3"]
    several, few = (conv_case(1, (1, channels, 9, 9), 16, (3, 3), **SAME)[0] for channels in (5, 3))
    assert "5 channels" in (image.applicable(several, TARGETS["rpi4"]) or "")
    assert image.applicable(few, wide) == f"{wide.lanes} lanes"
    assert image.applicable(few, TARGETS["rpi4"]) is None


def test_sums_without_room_are_refused() -> None:
    """129 channels of the largest weights come to 2^25 and more."""
    for channels, refused in ((115, False), (116, True)):
        w = np.full((16, channels, 3, 3), 127, np.int8)
        op, _ = conv_case(1, (1, channels, 4, 4), 16, (3, 3), w=w)
        found = convolution("exact_winograd4x4").applicable(op, HERE[-1])
        assert (found is not None and "are exact" in found) == refused
        assert convolution("exact_winograd4x2").applicable(op, HERE[-1]) is None


def test_where_bytes_multiply_faster_words_do_not() -> None:
    op, _ = conv_case(1, (1, 16, 9, 9), 16, (3, 3))
    found = convolution("exact_winograd4x4").applicable(op, TARGETS["x86-64-v4-vnni"])
    assert found == "x86-64-v4-vnni multiplies bytes faster than words"


# Its code


def _laid_out(name: str, target: Target) -> Operator:
    op, _ = conv_case(1, (1, 64, 28, 28), 64, (3, 3), **SAME)
    lay_out(op, *convolution(name).layouts(op, target)[0])
    return op


def test_cores_that_wait_ask_for_rows_ahead() -> None:
    """Those of the Raspberry Pi 3 do; the Pi 4's fetch by themselves."""
    exact = convolution("exact_winograd4x4")
    waits, fetches = (
        tir_text(exact.kernel(_laid_out(exact.name, TARGETS[name]), TARGETS[name]), "k", TARGETS[name])
        for name in ("rpi3", "rpi4")
    )
    assert waits.count("prefetch") > fetches.count("prefetch")


def test_llvm_is_not_told_that_nothing_overflows() -> None:
    name, target = "exact_winograd4x4", HERE[-1]
    text = lower(convolution(name).kernel(_laid_out(name, target), target), "k", target)
    assert re.search(r"= mul <", text)
    assert not re.search(r"= (add|sub|mul) (nsw|nuw)[^<\n]*<", text)


@pytest.mark.parametrize("name", sampled(["x86-64-v2", "x86-64-v3", "rpi3", "rpi4"], ["x86-64-v3", "rpi4"]))
def test_products_stay_in_registers(name: str) -> None:
    target, exact = TARGETS[name], convolution("exact_winograd4x4")
    op, step = _laid_out(exact.name, target), word_step(target)
    assert step is not None
    assembly = assembly_of(build_object(exact.kernel(op, target), "k", target), target)
    blocking = exact.primitive.plan(exact.spec(op), target)
    tile = blocking.rows * blocking.vectors * step.multiplies * step.at_once
    loop = next(x for x in innermost(assembly, target.triple.split("-")[0]) if x.multiplies == tile)
    assert loop.spills == 0
    assert loop.loads <= loop.multiplies / step.at_once


@pytest.mark.parametrize(
    ("name", "side", "more"), [(EXACT_STEM.name, 64, STEM), (EXACT_IMAGE.name, 48, SAME)]
)
def test_few_channels_are_loaded_at_once(name: str, side: int, more: dict[str, Any]) -> None:
    """Of every four one is none; a load takes those of a pixel and more, or two vectors of weights."""
    target, exact = TARGETS["rpi4"], convolution(name)
    op, _ = conv_case(1, (1, 3, side, side), 32, (3, 3) if more is SAME else (7, 7), **more)
    lay_out(op, *exact.layouts(op, target)[0])
    assembly = assembly_of(build_object(exact.kernel(op, target), "k", target), target)
    loop = max(innermost(assembly, "aarch64"), key=lambda found: found.multiplies)
    plan, steps = exact.primitive.plan(exact.spec(op), target), 4 if more is STEM else 1
    assert loop.multiplies == 3 * steps * plan.rows * plan.vectors
    assert loop.loads <= -(-steps // 2) * plan.rows + 1.5 * steps * plan.vectors
    assert loop.spills == 0
    assert len(loop.instructions) < 1.4 * loop.multiplies
