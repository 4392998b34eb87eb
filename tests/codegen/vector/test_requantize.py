"""Requantization on sums chosen to land between two results, to the bit."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.codegen.vector.requantize import Requantization, Requantize, on_target, requantization
from secateur.ir.types import DType, TensorType

from ..generic_harness import Array, call
from ..linear_harness import conv_case, native_targets

COUNT = 1024
FUSED = r"vfn?m(add|sub)|\b(fmla|fmls|fn?m(add|sub)|vfm[as]|vml[as]\.f32)\b"  # rounded once, not twice
TARGETS_HERE = native_targets()
every_target = pytest.mark.parametrize("target", TARGETS_HERE, ids=[t.name for t in TARGETS_HERE])


def kernel_of(spec: Requantization, lanes: int) -> Kernel:
    def build() -> Any:
        from secateur.codegen.tir import T, load, prim_func, store

        def body(
            sums: Any, multipliers: Any, parameters: Any, residual: Any, result: Any, *rest: Any
        ) -> None:
            ending = Requantize(spec, lanes, parameters, multipliers, residual)
            with T.serial(*rest[1:]) as task:
                at = task * lanes
                store(result, at, ending.of_sum(load(sums, at, lanes), at, at), lanes)

        floats = [(name, "float32") for name in ("multipliers", "parameters")]
        pointers = [("sums", "int32"), *floats, ("residual", "uint8"), ("result", spec.result)]
        return prim_func(pointers, body)

    return Kernel("requantize", (spec, lanes), build, COUNT // lanes)


def run(target: Target, spec: Requantization, sums: Array, factors: Array, zero: int, limits: tuple[int, int],
        residual: Array, residual_zero: int, step: np.float32) -> Array:  # fmt: skip
    low, high = limits
    parameters = np.array([low - zero, high - zero, 12582912 - zero, residual_zero, step], np.float32)
    dtype = DType.U8 if spec.result == "uint8" else DType.F32
    inputs = [sums.astype(np.int32), factors, parameters, residual]
    return call(kernel_of(spec, target.lanes), inputs, TensorType((COUNT,), dtype), target)


def data(kind: str) -> tuple[Array, Array]:
    """Sums and multipliers: halves, which rounding to even sends both ways; or anything."""
    rng = np.random.default_rng(5)
    if kind == "halves":
        return rng.integers(-700, 700, COUNT), np.full(COUNT, 0.5, np.float32)
    sums = rng.integers(-(2**20), 2**20, COUNT)
    sums[:64] = rng.choice([2**31 - 1, -(2**31), 0, 2**24 + 1], 64)
    return sums, rng.uniform(1e-5, 5e-4, COUNT).astype(np.float32)


def wanted(
    sums: Array, factors: Array, residual: Array | None, step: np.float32, residual_zero: int
) -> Array:
    t = sums.astype(np.float32) * factors
    return t if residual is None else t + (residual.astype(np.float32) - np.float32(residual_zero)) * step


@every_target
@pytest.mark.parametrize("kind", ["halves", "any"])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("way", ["shifts", "converts", "saturates"])
def test_stored_bytes(target: Target, kind: str, added: bool, way: str) -> None:
    sums, factors = data(kind)
    residual, step = np.random.default_rng(6).integers(0, 256, COUNT).astype(np.uint8), np.float32(0.37)
    zero, low, high = (0, 2, 255) if way == "saturates" else (7, 3, 251)
    spec = Requantization("uint8", added, 0, way != "shifts", way == "saturates")
    got = run(target, spec, sums, factors, zero, (low, high), residual, 11, step)
    t = wanted(sums, factors, residual if added else None, step, 11)
    want = np.clip(np.rint(t).astype(np.float64) + zero, low, high).astype(np.uint8)
    np.testing.assert_array_equal(got, want)


@every_target
def test_real_results_are_not_fused(target: Target) -> None:
    """A multiplication fused with an addition rounds once; the reference rounds twice."""
    sums, factors = data("any")
    residual, step = np.random.default_rng(6).integers(0, 256, COUNT).astype(np.uint8), np.float32(0.3701)
    got = run(target, Requantization("float32", True), sums, factors, 0, (0, 0), residual, 11, step)
    want = wanted(sums, factors, residual, step, 11)
    np.testing.assert_array_equal(got, want)
    term = (residual.astype(np.float64) - 11) * np.float64(step)
    fused = (wanted(sums, factors, None, step, 0).astype(np.float64) + term).astype(np.float32)
    assert (fused != want).any(), "these numbers do not tell the two apart"


@every_target
@pytest.mark.parametrize("wrong", ["away", "down"])
def test_other_roundings_differ(target: Target, wrong: str) -> None:
    sums, factors = data("halves")
    none = np.zeros(COUNT, np.uint8)
    got = run(target, Requantization(), sums, factors, 128, (0, 255), none, 0, np.float32(0))
    t = sums * 0.5
    rounded = np.trunc(t + np.copysign(0.5, t)) if wrong == "away" else np.floor(t)
    assert (got != np.clip(rounded + 128, 0, 255)).any()


def test_lanes_past_the_last_channel_are_zero() -> None:
    sums, factors = data("halves")
    none = np.zeros(COUNT, np.uint8)
    got = run(
        TARGETS_HERE[0], Requantization(filters=1000), sums, factors, 9, (2, 255), none, 0, np.float32(0)
    )
    assert not got[1000:].any()
    assert got[:1000].min() == 2


@pytest.mark.parametrize(
    ("more", "masked"),
    [
        ({}, 0),
        ({"result_zero": 3}, 21),
        ({"limits": (1, 255)}, 21),
        ({"real": True}, 0),
        ({"real": True, "residual": True, "residual_zero": 4}, 21),
        ({"residual": True, "residual_zero": 4}, 0),
    ],
)
def test_lanes_are_zeroed_only_where_they_would_not_be(more: dict[str, Any], masked: int) -> None:
    op, _ = conv_case(0, (1, 4, 3, 3), 21, (1, 1), **more)
    assert requantization(op, 3).filters == masked


def _relu(**more: Any) -> Requantization:
    """The ending of a layer whose zero point is 0, on x86-64."""
    op, _ = conv_case(0, (1, 4, 3, 3), 16, (1, 1), **more)
    return on_target(requantization(op, 3), op, 3, TARGETS["x86-64-v3"])


def test_what_numbers_and_core_allow() -> None:
    assert _relu() == Requantization(converts=True, saturates=True)
    assert _relu(result_zero=3) == Requantization(converts=True)
    assert _relu(limits=(0, 200)) == Requantization(converts=True)
    assert _relu(scale=1e-9) == Requantization(converts=True), "sums of many steps each could leave int32"
    assert _relu(real=True) == Requantization("float32")
    op, _ = conv_case(0, (1, 4, 3, 3), 16, (1, 1))
    arm = TARGETS["armv8-a"]
    assert on_target(Requantization(), op, 3, arm) == Requantization(narrowing=arm.isa.narrowing)
    limited, _ = conv_case(0, (1, 4, 3, 3), 16, (1, 1), limits=(0, 200))
    assert on_target(Requantization(), limited, 3, arm).limited


def test_only_converted_results_saturate() -> None:
    with pytest.raises(ValueError, match="only converted results saturate"):
        Requantization(saturates=True)


@pytest.mark.parametrize("name", ["x86-64-v3", "armv8-a", "armv7-a+neon"])
def test_no_fused_instruction_comes_out(name: str) -> None:
    target = TARGETS[name]
    kernel = kernel_of(Requantization("uint8", True), target.lanes)
    text = assembly_of(build_object(kernel, "requantize", target), target)
    assert re.search(r"\b(vmulps|fmul|vmul\.f32)\b", text)  # it is there, and in these words
    assert not re.search(FUSED, text)


@pytest.mark.parametrize(
    "line",
    [
        "vfmadd213ps %ymm0, %ymm1, %ymm2",
        "vfnmadd231ps %ymm0, %ymm1, %ymm2",
        "fmla v0.4s, v1.4s, v2.4s",
        "fmls v0.4s, v1.4s, v2.4s",
        "fmadd s0, s1, s2, s3",
        "vfma.f32 q0, q1, q2",
        "vmla.f32 q0, q1, q2",
    ],
)
def test_a_fused_instruction_would_be_seen(line: str) -> None:
    assert re.search(FUSED, line)


def test_results_are_bytes_or_floats() -> None:
    with pytest.raises(ValueError, match="uint8 or float32, not int32"):
        Requantization("int32")
