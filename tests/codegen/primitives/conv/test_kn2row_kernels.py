"""kn2row convolution against the interpreter, on every instruction set that this machine can run."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.conv.kn2row.row_major import KN2ROW
from secateur.codegen.primitives.conv.kn2row.row_major_plan import row_tiles
from secateur.codegen.primitives.operator import Constant, Primitive
from secateur.codegen.primitives.specs import ConvSpec
from secateur.codegen.targets.rows import PROCESSORS, TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator

from ....sampled import examples
from ...generic_harness import RUNNABLE, Array, every_target, function_of, operator, run
from ...linear_harness import overwriting

RELU = (Step("relu"),)
ADD = (Step("add"),)
SAME: dict[str, Any] = {"pads": (1, 1, 1, 1)}
TOLERANCE = 1e-5  # of the largest result


def case(
    shape: tuple[int, int, int, int],
    filters: int,
    kernel: tuple[int, int],
    kinds: tuple[str, ...] = (),
    **attributes: Any,
) -> tuple[Operator, list[Array]]:
    """A random `nn.conv`; `kinds`, of the epilogue's operands: full, channel, scalar, bias (constant)."""
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(s, np.float32) for s in (shape, (filters, shape[1], *kernel))]
    attributes = {"pads": (0, 0, 0, 0), "strides": (1, 1), "dilations": (1, 1), **attributes}
    window = {k: v for k, v in attributes.items() if k != "epilogue"}
    result = operator("conv", arrays, window, (1,)).result.type.shape
    shapes = {"full": result, "channel": (1, filters, 1, 1), "scalar": (1,), "bias": (1, filters, 1, 1)}
    arrays += [rng.standard_normal(shapes[kind], np.float32) for kind in kinds]
    constants = (1, *(2 + i for i, kind in enumerate(kinds) if kind == "bias"))
    return operator("conv", arrays, attributes, constants), arrays


def primitive_of(op: Operator) -> Primitive:
    return next(p for p in PRIMITIVES.candidates(op) if p.name == "kn2row")


def check(made: tuple[Operator, list[Array]], target: Target) -> None:
    op, arrays = made
    want = interpreter.evaluate(op, [a.astype(np.float32) for a in arrays])[0]
    got = run(primitive_of(op), op, arrays, target)
    assert np.isfinite(got).all()
    assert np.abs(got - want).max() <= TOLERANCE * max(1.0, float(np.abs(want).max()))


CASES: dict[str, Any] = {
    "same": case((1, 20, 9, 37), 3, (3, 3), ("bias",), **SAME, epilogue=(*ADD, *RELU)),
    "ragged_filters": case((2, 5, 6, 18), 11, (3, 3), **SAME),
    "valid": case((1, 7, 12, 70), 4, (5, 3)),
    "narrow": case((1, 9, 8, 7), 5, (3, 3), **SAME),
    "one_column": case((1, 6, 9, 1), 4, (3, 1), pads=(1, 0, 1, 0)),
    "beyond_image": case((1, 4, 3, 17), 3, (5, 5), pads=(2, 2, 2, 2)),
    "beyond_kernel": case((1, 4, 4, 16), 3, (3, 3), ("bias",), pads=(4, 4, 4, 4), epilogue=ADD),
    "dilated": case((1, 8, 15, 33), 4, (3, 3), dilations=(2, 3), pads=(2, 3, 1, 4)),
    "uneven": case((1, 3, 9, 20), 2, (3, 4), pads=(2, 0, 0, 3)),
    "pointwise": case((1, 33, 5, 24), 6, (1, 1), ("full",), epilogue=(*ADD, *RELU)),
    "strips": case((1, 96, 33, 16), 8, (3, 3), **SAME),
    "residual": case((1, 16, 6, 35), 5, (3, 3), ("bias", "full"), **SAME, epilogue=(*ADD, *ADD, *RELU)),
    "operands": case((1, 3, 5, 21), 9, (3, 3), ("channel", "scalar"), **SAME,
                     epilogue=(Step("mul"), Step("sub"), Step("sigmoid"))),
}  # fmt: skip


def _cases() -> Iterator[Any]:
    """Every case at the longest vectors, every other at the next, the rest at the shortest."""
    for number, name in enumerate(CASES):
        for target in (RUNNABLE[0], *RUNNABLE[1:][number % 2 :: 2]):
            yield pytest.param(name, target, id=f"{name}-{target.name}")


@pytest.mark.parametrize(("name", "target"), list(_cases()))
def test_convolution(name: str, target: Target) -> None:
    op, arrays = CASES[name]
    check((fresh(op), arrays), target)


def fresh(op: Operator) -> Operator:
    """The operator with row-major types, whatever was written into them."""
    return type(op)(op.definition, op.operands, op.attributes, [r.type for r in op.results], op.loc)


@examples(3, 8, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_convolution(data: st.DataObject) -> None:
    draw = data.draw
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel, dilations = draw(pair), draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pads = draw(st.tuples(*[st.integers(0, 4)] * 4))
    least = [
        max(1, d * (k - 1) + 1 - before - after)
        for k, d, before, after in zip(kernel, dilations, pads[:2], pads[2:], strict=True)
    ]
    size = (draw(st.integers(least[0], least[0] + 6)), draw(st.integers(least[1], least[1] + 70)))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 9)), *size)
    kinds = draw(
        st.sampled_from([(), ("bias",), ("full",), ("bias", "full"), ("channel",), ("scalar", "full")])
    )
    steps = ADD * len(kinds) + draw(st.sampled_from([(), RELU, (Step("clip", (-1.0, 1.0)),)]))
    made = case(
        shape, draw(st.integers(1, 12)), kernel, kinds, dilations=dilations, pads=pads, epilogue=steps
    )
    check(made, draw(st.sampled_from(RUNNABLE)))


@every_target
def test_tasks_are_independent(target: Target) -> None:
    """One call for all gives the bits of one call for each, last first."""
    op, arrays = case((2, 40, 33, 20), 9, (3, 3), ("bias", "full"), **SAME, epilogue=(*ADD, *ADD))
    primitive = primitive_of(op)
    apart = run(primitive, op, arrays, target)
    kernel = primitive.kernel(op, target)
    assert kernel.tasks > 8
    buffers = [
        a.array if isinstance(a, Constant) else arrays[a.index] for a in primitive.arguments(op, target)
    ]
    np.testing.assert_array_equal(_at_once(kernel, buffers, apart.shape, target), apart)


def _at_once(kernel: Kernel, buffers: list[Array], shape: tuple[int, ...], target: Target) -> Array:
    result = np.full(shape, np.nan, np.float32)
    pointers = (ctypes.c_void_p * (len(buffers) + 1))(*[b.ctypes.data for b in (*buffers, result)])
    workspace = np.zeros(kernel.workspace // 4 + 32, np.float32)
    start = -workspace.ctypes.data % 64
    function_of(kernel, target)(pointers, workspace.ctypes.data + start, 0, kernel.tasks)
    return result


@every_target
def test_the_result_may_overwrite_the_residual(target: Target) -> None:
    op, arrays = case((1, 16, 9, 35), 5, (3, 3), ("full",), **SAME, epilogue=(*ADD, *RELU))
    want = interpreter.evaluate(op, arrays)[0]
    got = overwriting((op, arrays), "kn2row", target)
    assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()


def test_sums_take_workspace_only_beside_a_residual() -> None:
    target = TARGETS["x86-64-v3"]
    plain, _ = case((1, 16, 9, 35), 5, (3, 3), ("channel",), **SAME, epilogue=ADD)
    added, _ = case((1, 16, 9, 35), 5, (3, 3), ("full",), **SAME, epilogue=ADD)
    assert primitive_of(plain).workspace(plain, target) == 0
    assert 0 < primitive_of(added).workspace(added, target) <= 4 * 9 * 40 * 5


# Plans


SPEC = ConvSpec(1, 64, 128, 128, 3, (3, 3), pads=(1, 1, 1, 1))


def test_tiles_cover_a_row_once() -> None:
    for width in range(1, 60):
        spec = replace(SPEC, width=width)
        for target in (TARGETS["x86-64-v4"], TARGETS["armv8-a"]):
            plan = KN2ROW.plan(spec, target)
            covered = [
                tiles.start + i * tiles.size * plan.lanes + column
                for tiles in row_tiles(spec, plan)
                for i in range(tiles.count)
                for column in range((tiles.size - 1) * plan.lanes + tiles.width)
            ]
            assert covered == list(range(width))


@pytest.mark.parametrize("name", list(PROCESSORS))
@pytest.mark.parametrize("filters", [1, 3, 8, 64])
def test_tiles_fit_the_registers(name: str, filters: int) -> None:
    target = TARGETS[name]
    plan = KN2ROW.plan(replace(SPEC, filters=filters), target)
    assert (
        plan.filters * plan.vectors + plan.filters + plan.vectors.bit_length() <= target.isa.vector_registers
    )
    assert plan.lanes == target.lanes


def test_few_filters_cost_less_than_padding_them_to_a_vector() -> None:
    from secateur.codegen.primitives.conv.direct import DIRECT

    target = TARGETS["x86-64-v4"]
    blocked = replace(SPEC, in_layout="NCHW16c", out_layout="NCHW16c")
    many, many_blocked = replace(SPEC, filters=64), replace(blocked, filters=64)
    assert KN2ROW.estimate(SPEC, target) < DIRECT.estimate(blocked, target)
    assert KN2ROW.estimate(many, target) > DIRECT.estimate(many_blocked, target)


# Refusals


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"strides": (2, 1)}, "strides (2, 1)"),
        ({"strides": (1, 2)}, "strides (1, 2)"),
        ({"groups": 2, "filters": 4}, "2 groups"),
        ({"in_layout": "NCHW16c"}, "layouts NCHW16c -> NCHW"),
        ({"out_layout": "NCHW8c"}, "layouts NCHW -> NCHW8c"),
    ],
)
def test_refusals(change: dict[str, Any], reason: str) -> None:
    assert reason in str(KN2ROW.applicable(replace(SPEC, **change), TARGETS["x86-64-v4"]))


def test_it_is_offered_row_major() -> None:
    op, _ = case((1, 8, 9, 9), 4, (3, 3))
    ((operands, result),) = primitive_of(op).layouts(op, TARGETS["x86-64-v3"])
    assert (operands[0].name, result.name) == ("NCHW", "NCHW")
