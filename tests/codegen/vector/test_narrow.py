"""Kernels for weights that leave room: the interpreter's bits, in registers; no others take their step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.primitives.conv.linear_operators import linear_spec
from secateur.codegen.primitives.conv.pointwise import POINTWISE
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir.graph import Operator
from secateur.ir.support.room import MOST, met, room_of
from secateur.tools.checks.machine_loops import innermost

from ..generic_harness import lay_out
from ..linear_harness import Array, check_case, conv_case, native_targets

HERE = native_targets()
SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}
CASES: dict[str, tuple[tuple[int, ...], int, int, dict[str, Any]]] = {
    "same": ((1, 32, 9, 11), 40, 3, SAME),
    "border": (
        (2, 20, 6, 11),
        33,
        3,
        {**SAME, "zero": 7, "residual": True, "result_zero": 9, "strides": (2, 1)},
    ),
    "flat": ((1, 40, 7, 9), 80, 1, {"zero": 3}),
    "few": ((1, 8, 7, 9), 8, 3, {**SAME, "zero": 5}),
    "fewer": ((1, 3, 7, 9), 8, 1, {"zero": 5}),
    "image": ((1, 3, 13, 20), 24, 5, {"pads": (2, 2, 2, 2), "zero": 11}),
}


def roomy(shape: tuple[int, ...], depth: int) -> Array:
    """Random weights as large as room for `depth` quads lets them be."""
    weights = np.random.default_rng(0).integers(-127, 128, shape)
    sets = met(weights, depth)
    largest = max(sets.clip(0).sum(2).max(), -sets.clip(None, 0).sum(2).min())
    found: Array = np.trunc(weights * (MOST / largest)).astype(np.int8)
    return found


@pytest.mark.parametrize("target", HERE, ids=lambda t: t.name)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_bits(name: str, depth: int, target: Target) -> None:
    shape, filters, kernel, more = CASES[name]
    weights = roomy((filters, shape[1], kernel, kernel), depth)
    assert room_of(weights).unsigned >= depth
    primitive = "pointwise" if kernel == 1 else "direct"
    check_case(conv_case(1, shape, filters, (kernel, kernel), w=weights, **more), target, only=primitive)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_do_not_saturate(sign: int) -> None:
    """Every set of four has all of its room in it, and the bytes are the largest."""
    weights = np.full((16, 64, 3, 3), 32 * sign, np.int8)
    assert room_of(weights).unsigned == 2
    x = np.full((1, 64, 5, 6), 255, np.uint8)
    check_case(conv_case(0, x.shape, 16, (3, 3), **SAME, x=x, w=weights, real=True), HERE[0], only="direct")


def _assembly(weights: Array, target: Target) -> str:
    op = conv_case(1, (1, weights.shape[1], 14, 14), len(weights), weights.shape[2:], w=weights)[0]
    return assembly_of(build_object(_primitive(op, target).kernel(op, target), "k", target), target)


def _primitive(op: Operator, target: Target) -> Any:
    found = next(p for p in PRIMITIVES.candidates(op) if p.name == "direct")
    lay_out(op, *found.layouts(op, target)[0])
    return found


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("depth", [1, 2])
def test_products_stay_in_registers(name: str, depth: int) -> None:
    target = TARGETS[name]
    loops = innermost(_assembly(roomy((64, 64, 3, 3), depth), target), "x86_64")
    inner = [loop for loop in loops if any("pmaddubsw" in line for line in loop.instructions)]
    assert inner
    for loop in inner:
        assert loop.spills == 0


@pytest.mark.parametrize(("channels", "steps"), [(3, 1), (8, 2), (9, 3), (16, 4), (20, 5)])
def test_channels_that_are_none_are_not_multiplied(channels: int, steps: int) -> None:
    weights = np.full((16, channels, 1, 1), 127, np.int8)
    op = conv_case(1, (1, channels, 5, 5), 16, (1, 1), w=weights)[0]
    spec = replace(linear_spec(op), in_layout="NCHW16c", out_layout="NCHW16c")
    assert POINTWISE.steps(spec, TARGETS["x86-64-v3"]) == steps


def test_weights_without_room_are_multiplied_as_ever() -> None:
    weights = roomy((16, 32, 1, 1), 2)
    weights[3, [4, 5]] = 127
    assert room_of(weights).unsigned == 0
    assert "pmaddubsw" not in _assembly(weights, HERE[-1])


@pytest.mark.parametrize("name", ["x86-64-v4-vnni", "rpi5"])
def test_room_is_nothing_to_targets_without_the_step(name: str) -> None:
    target = TARGETS[name]
    assert _assembly(roomy((16, 32, 1, 1), 2), target) == _assembly(
        np.full((16, 32, 1, 1), 127, np.int8), target
    )
