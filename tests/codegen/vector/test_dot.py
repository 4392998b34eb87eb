"""The dot product of every instruction set, and its packing, on bytes at the ends of their range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.codegen.vector.dot import Dot, Halves, Lanes, MixedLanes, Pairs, Vnni, Widening, dot_of, is_full
from secateur.ir.types import DType, TensorType

from ..generic_harness import Array, call
from ..linear_harness import native_targets

ROWS, STEPS = 3, 5


def kernel_of(dot: Dot) -> Kernel:
    """Sums of `ROWS` rows over `STEPS` quads: data (STEPS, ROWS, 4), weights (STEPS, lanes, 4) packed."""

    def build() -> Any:
        from secateur.codegen.tir import Registers, T, prim_func, store

        def body(data: Any, weights: Any, result: Any, _: Any, begin: Any, end: Any) -> None:
            with T.serial(begin, end):
                sums = Registers(ROWS, dot.lanes, "int32")
                sums.fill(0)
                with T.serial(0, STEPS) as k:
                    vector = dot.weights(weights, k * dot.bytes)
                    for r in range(ROWS):
                        element = dot.begun(dot.element(data, (k * ROWS + r) * 4))
                        dot.accumulate(sums, r, element, vector)
                for r in range(ROWS):
                    store(result, r * dot.lanes, sums[r], dot.lanes)

        return prim_func([("data", "uint8"), ("weights", "int8"), ("result", "int32")], body)

    return Kernel("dot", dot, build, 1)


def sums_of(dot: Dot, data: Array, weights: Array, target: Target) -> Array:
    return call(kernel_of(dot), [data, dot.pack(weights)], TensorType((ROWS, dot.lanes), DType.I32), target)


DOTS = [(t, dot_of(t)) for t in native_targets()] + [(native_targets()[0], Widening(n)) for n in (4, 8, 16)]


@pytest.mark.parametrize(("target", "dot"), DOTS, ids=[f"{type(d).__name__}-{t.name}" for t, d in DOTS])
@pytest.mark.parametrize(("low", "high"), [(0, 255), (255, 255), (128, 130)])
def test_sums_are_exact(target: Target, dot: Dot, low: int, high: int) -> None:
    """All 255 times all -127 or 127 would saturate sums of pairs in int16."""
    rng = np.random.default_rng(low)
    data = rng.integers(low, high + 1, (STEPS, ROWS, 4)).astype(np.uint8)
    for weights in (
        np.full((STEPS, dot.lanes, 4), -127),
        rng.choice([-128, -127, 5, 127], (STEPS, dot.lanes, 4)),
    ):
        want = np.einsum("krq,klq->rl", data.astype(np.int64), weights.astype(np.int64))
        np.testing.assert_array_equal(sums_of(dot, data, weights.astype(np.int8), target), want)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x86-64-v4-vnni", Vnni), ("x86-64-v4", Pairs), ("x86-64-v3", Pairs), ("x86-64-v2", Pairs),
     ("armv8-a", Halves), ("armv7-a+neon", Halves), ("armv8.2-a+dotprod", Lanes),
     ("armv8.6-a+i8mm", MixedLanes)],
)  # fmt: skip
def test_the_target_decides(name: str, kind: type[Dot]) -> None:
    assert isinstance(dot_of(TARGETS[name]), kind)


@pytest.mark.parametrize(
    ("name", "instruction"),
    [("x86-64-v4-vnni", "vpdpbusd"), ("x86-64-v3", "vpmaddwd"), ("x86-64-v2", "pmaddwd"),
     ("armv8-a", "smlal2\tv"), ("armv8-a", "sadalp\tv"), ("armv7-a+neon", "vmlal.s8"),
     ("armv7-a+neon", "vpadal.s16"),
     ("armv8.2-a+dotprod", "sdot\tv"), ("armv8.6-a+i8mm", "usdot\tv")],
)  # fmt: skip
def test_the_instruction_is_used(name: str, instruction: str) -> None:
    target = TARGETS[name]
    assert instruction in assembly_of(build_object(kernel_of(dot_of(target)), "dot", target), target)


def test_weights_of_the_lowest_byte_take_another_step() -> None:
    """Two products of -128 and -128 leave int16."""
    assert is_full(np.array([3, -128], np.int8))
    assert not is_full(np.array([3, -127], np.int8))
    assert isinstance(dot_of(TARGETS["armv8-a"], full=True), Widening)
    assert isinstance(dot_of(TARGETS["armv8.2-a+dotprod"], full=True), Lanes)
