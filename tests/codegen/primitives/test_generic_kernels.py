"""What generic primitives refuse, how they quantize, and how their work is cut into tasks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.vector.loops import Nest
from secateur.ir.types import DType

from ..generic_harness import RUNNABLE, Array, check, operator, rand, whole


@pytest.mark.parametrize("run", ["first", "second"])
def test_a_tests_random_numbers_do_not_depend_on_the_tests_before(run: str) -> None:
    np.testing.assert_array_equal(
        rand(3), np.random.default_rng(7).standard_normal(3).astype(np.float32), run
    )


POOL = {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1)}


@pytest.mark.parametrize("stored", [DType.I8, DType.U8, DType.I16, DType.I32], ids=lambda d: d.value)
@pytest.mark.parametrize("axis", [-1, 1])
def test_quantize_to_the_bit(stored: DType, axis: int) -> None:
    x = np.concatenate([50 * rand(35), [math.nan, math.inf, -math.inf, 1e30, -0.15]]).astype(np.float32)
    count = 1 if axis == -1 else 5
    scales, zeros = tuple(0.1 * (i + 1) for i in range(count)), tuple(range(count))
    attributes = {"scales": scales, "zero_points": zeros, "axis": axis, "dtype": stored}
    check("q.quantize", [np.tile(x, (2, 5, 1))], attributes, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "shape", "attributes", "least"),
    [("relu", (4,), {}, 1), ("relu", (1, 64, 56, 56), {}, 8), ("relayout", (1, 3, 224, 224), {}, 4),
     ("softmax", (1, 21, 64, 64), {"axis": 1}, 8), ("transpose", (1, 64, 56, 56), {"perm": (0, 2, 3, 1)}, 8)],
)  # fmt: skip
def test_work_is_cut_into_tasks(
    name: str, shape: tuple[int, ...], attributes: dict[str, Any], least: int
) -> None:
    op = operator(name, [np.zeros(shape, np.float32)], attributes)
    primitive = PRIMITIVES.candidates(op)[0]
    layouts, result = primitive.layouts(op, RUNNABLE[0])[0]
    op.operands[0].type = op.operands[0].type.with_layout(layouts[0])
    op.result.type = op.result.type.with_layout(result)
    tasks = primitive.kernel(op, RUNNABLE[0]).tasks
    assert tasks == 1 if least == 1 else least <= tasks <= 64


def _refusal(primitive: str, name: str, arrays: list[Array], attributes: dict[str, Any]) -> str | None:
    op = operator(name, arrays, attributes)
    (found,) = (p for p in PRIMITIVES.candidates(op) if p.name == primitive)
    return found.applicable(op, RUNNABLE[0])


@pytest.mark.parametrize(
    ("primitive", "name", "arrays", "attributes", "reason"),
    [
        ("reduce_blocked", "reduce_mean", [rand(1, 4, 3, 3)], {"axes": (1,)}, "all their spatial axes"),
        ("reduce_blocked", "reduce_max", [rand(1, 4, 3, 3)], {"axes": (2, 3), "keepdims": False}, "as 1"),
        ("reduce_blocked", "reduce_sum", [rand(1, 4, 0, 3)], {"axes": (2, 3)}, "an empty tensor"),
        ("pool_blocked", "max_pool", [whole(1, 4, 3, 3)], POOL, "only float32 and 8-bit tensors"),
        ("pool_blocked", "average_pool", [whole(1, 4, 3, 3)], POOL, "only float32 tensors"),
        ("relayout", "relayout", [rand(3, 4)], {}, "with spatial axes"),
        ("relayout", "relayout", [whole(1, 4, 3, 3)], {}, "only float32 and 8-bit tensors"),
        ("resize_blocked", "resize", [rand(1, 4, 3, 3)],
         {"shape": (1, 8, 3, 3), "scales": (1.0, 2.0, 1.0, 1.0)}, "channels are resized"),
        ("lrn_blocked", "lrn", [rand(1, 64, 3, 3)], {"size": 99}, "channels on one side"),
        ("batch_norm", "batch_norm", [rand(1, 4, 3), *[rand(4)] * 4], {}, "computed at run time"),
        ("gather", "gather", [rand(0, 4), np.array([0])], {}, "nothing to pick"),
    ],
)  # fmt: skip
def test_refusal(
    primitive: str, name: str, arrays: list[Array], attributes: dict[str, Any], reason: str
) -> None:
    assert reason in (_refusal(primitive, name, arrays, attributes) or "nothing")


def test_a_nest_needs_a_stride_for_each_dimension() -> None:
    with pytest.raises(ValueError, match="do not fit extents"):
        Nest((2, 3), ((3, 1), (1,)))
