"""Convolution kernels against NumPy in float64, at every vector length this machine can run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.objects import compile_object
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.conv.depthwise.lanes import DEPTHWISE
from secateur.codegen.primitives.conv.direct import DIRECT
from secateur.codegen.primitives.conv.grouped import GROUPED
from secateur.codegen.primitives.conv.im2row.primitive import IM2ROW
from secateur.codegen.primitives.conv.pointwise import POINTWISE
from secateur.codegen.primitives.conv.transposed import TRANSPOSED
from secateur.codegen.primitives.conv.winograd.float32 import WINOGRAD
from secateur.codegen.primitives.dense.float32 import DENSE
from secateur.codegen.primitives.specs import ConvSpec, DenseSpec, TransposedSpec
from secateur.codegen.targets.target import Target
from secateur.codegen.vector.epilogue import Vector, apply
from secateur.ir.elementwise import FUNCTIONS, Step

from ....sampled import sampled_rows
from ...conv_harness import call, convolution_error, dense_error, targets

TARGETS = targets()
every_target = pytest.mark.parametrize("target", TARGETS, ids=[t.isa.name for t in TARGETS])
# Of one layer, relative to its largest result, on normally distributed data.
TOLERANCE = defaultdict(lambda: 1e-5, winograd4=3e-5, winograd6=1e-4)

RELU = (Step("relu"),)
RESIDUAL = (Step("add"), Step("relu"))


def conv(
    channels: int, size: tuple[int, int], filters: int, kernel: int | tuple[int, int], **more: Any
) -> ConvSpec:
    window = (kernel, kernel) if isinstance(kernel, int) else kernel
    more = {"in_layout": "BLOCKED", "out_layout": "BLOCKED", **more}
    return ConvSpec(more.pop("batch", 1), channels, *size, filters, window, **more)


DIRECT_CASES = {
    "same": conv(20, (9, 11), 40, 3, pads=(1, 1, 1, 1), bias=True, epilogue=RELU),
    "stride": conv(16, (12, 13), 32, 3, strides=(2, 2), pads=(0, 1, 1, 0), batch=2),
    "dilated": conv(8, (15, 14), 16, 3, dilations=(2, 3), pads=(2, 3, 1, 4), bias=True),
    "wide_kernel": conv(3, (17, 30), 24, (5, 7), strides=(2, 3), pads=(2, 3, 2, 3), in_layout="NCHW"),
    "kernel_beyond_image": conv(4, (3, 4), 8, 5, pads=(2, 2, 2, 2), bias=True),
    "padding_beyond_kernel": conv(8, (4, 4), 16, 3, pads=(4, 4, 4, 4)),
    "gray": conv(1, (8, 8), 5, 3, in_layout="NCHW", epilogue=(Step("sigmoid"),)),
    "residual": conv(16, (6, 6), 21, 3, pads=(1, 1, 1, 1), bias=True, epilogue=RESIDUAL, extras=("full",)),
    "many_filters": conv(70, (5, 4), 130, 2),
    "column": conv(12, (9, 1), 16, (3, 1), pads=(1, 0, 1, 0)),
}
POINTWISE_CASES = {
    "flat": conv(40, (7, 9), 33, 1, bias=True, epilogue=RELU),
    "strips": conv(16, (20, 13), 64, 1, batch=2, epilogue=RESIDUAL, extras=("full",)),
    "stride": conv(24, (9, 10), 48, 1, strides=(2, 3)),
    "one_pixel": conv(64, (1, 1), 10, 1, bias=True),
}
IM2ROW_CASES = {
    "blocked": conv(40, (7, 7), 72, 3, pads=(1, 1, 1, 1), bias=True, epilogue=RELU),
    "plain": conv(3, (18, 15), 20, 5, strides=(2, 2), pads=(1, 2, 2, 1), in_layout="NCHW", batch=2),
    "chunks": conv(256, (14, 14), 32, 3, pads=(1, 1, 1, 1)),
    "splits": conv(16, (4, 4), 256, 3, epilogue=RESIDUAL, extras=("full",)),
}
GROUPED_CASES = {
    "aligned": conv(64, (6, 7), 64, 3, groups=2, pads=(1, 1, 1, 1), bias=True),
    "tiny": conv(24, (5, 5), 36, 3, groups=12, strides=(2, 2), pads=(1, 0, 1, 0), epilogue=RELU),
    "uneven": conv(21, (5, 6), 35, 1, groups=7, bias=True),
    "multiplier": conv(10, (5, 5), 30, 3, groups=10),
    "wide": conv(96, (4, 5), 48, 1, groups=3, batch=2),
}
DEPTHWISE_CASES = {
    "same": conv(
        40, (9, 12), 40, 3, groups=40, pads=(1, 1, 1, 1), bias=True, epilogue=(Step("clip", (0.0, 6.0)),)
    ),
    "stride": conv(19, (11, 10), 19, 5, groups=19, strides=(2, 2), pads=(2, 1, 2, 2), batch=2),
    "dilated": conv(8, (9, 9), 8, 3, groups=8, dilations=(2, 2), epilogue=RESIDUAL, extras=("full",)),
}
WINOGRAD_CASES = {
    "whole_tiles": conv(32, (12, 12), 32, 3, pads=(1, 1, 1, 1), bias=True, epilogue=RELU),
    "odd": conv(20, (9, 11), 40, 3, pads=(1, 1, 1, 1), epilogue=RESIDUAL, extras=("full",)),
    "valid": conv(16, (15, 8), 16, 3, batch=2),
    "uneven_pads": conv(16, (7, 7), 48, 3, pads=(2, 0, 1, 1), bias=True),
    "many_filters": conv(16, (6, 6), 512, 3, pads=(1, 1, 1, 1)),
}
TRANSPOSED_CASES = {
    "upsample": TransposedSpec(1, 24, 5, 6, 20, (4, 4), (2, 2), (1, 1, 1, 1), bias=True, epilogue=RELU),
    "gaps": TransposedSpec(2, 8, 4, 3, 16, (2, 2), (3, 3), output_padding=(1, 2)),
    "dilated": TransposedSpec(1, 16, 5, 5, 8, (3, 2), (2, 1), (1, 0, 2, 1), (2, 3)),
    "grouped": TransposedSpec(
        1, 12, 4, 5, 18, (3, 3), (2, 2), (1, 1, 1, 1), groups=6, bias=True, output_padding=(1, 1)
    ),
    "plain": TransposedSpec(1, 20, 6, 15, 36, (3, 3), epilogue=RESIDUAL, extras=("full",)),
}
FAMILIES: tuple[tuple[Any, dict[str, Any]], ...] = (
    (DIRECT, DIRECT_CASES),
    (POINTWISE, POINTWISE_CASES),
    (IM2ROW, IM2ROW_CASES),
    (GROUPED, GROUPED_CASES),
    (DEPTHWISE, DEPTHWISE_CASES),
    (TRANSPOSED, {name: replace(spec, in_layout="BLOCKED") for name, spec in TRANSPOSED_CASES.items()}),
    *((primitive, WINOGRAD_CASES) for primitive in WINOGRAD),
)


def cases() -> Iterator[tuple[str, Any, Any, Target]]:
    """Every case at the longest vectors; the first two of a primitive at the others."""
    for primitive, specs in FAMILIES:
        for number, (name, spec) in enumerate(specs.items()):
            for target in TARGETS if number < 2 else TARGETS[:1]:
                yield f"{primitive.name}-{name}-{target.isa.name}", primitive, spec, target


def _stays(primitive: Any, spec: Any, _: Target) -> bool:
    """The other tiles of Winograd's are made by the same code."""
    others = primitive in WINOGRAD and primitive is not WINOGRAD[1]
    return not others or spec in (WINOGRAD_CASES["odd"], WINOGRAD_CASES["valid"])


@pytest.mark.parametrize(
    ("primitive", "spec", "target"),
    sampled_rows((row for _, *row in cases()), _stays),
    ids=[name for name, *_ in cases()],
)
def test_convolution(primitive: Any, spec: Any, target: Target) -> None:
    assert convolution_error(primitive, spec, target) < TOLERANCE[primitive.name]


@every_target
@pytest.mark.parametrize(
    "spec",
    [
        DenseSpec(1, 131, 100, bias=True, epilogue=RELU),
        DenseSpec(1, 7, 3, epilogue=(Step("mul"),), extras=("scalar",)),
        DenseSpec(3, 64, 128, epilogue=(Step("mul"), Step("add")), extras=("channel", "full")),
        DenseSpec(37, 33, 70, bias=True, epilogue=(Step("tanh"),)),
    ],
    ids=["one_row", "tiny", "few_rows", "many_rows"],
)
def test_dense(spec: DenseSpec, target: Target) -> None:
    assert dense_error(DENSE, spec, target) < 1e-5


# Epilogues


@pytest.mark.parametrize(
    ("steps", "extras"),
    [
        ((Step("add"),), ("channel",)),
        ((Step("add"),), ("scalar",)),
        ((Step("sub"), Step("exp")), ("full",)),
        ((Step("mul"), Step("hard_sigmoid", (0.2, 0.5))), ("channel",)),
        ((Step("prelu"), Step("add"), Step("clip", (0.5, 2.0))), ("channel", "full")),
    ],
)
def test_padding_lanes_stay_zero(steps: tuple[Step, ...], extras: tuple[str, ...]) -> None:
    """`convolution_error` fails where a lane past the last channel is not zero."""
    spec = conv(5, (4, 4), 21, 1, bias=True, epilogue=steps, extras=extras)
    assert convolution_error(POINTWISE, spec, TARGETS[0]) < 1e-5


def elementwise_kernel(step: Step, count: int, lanes: int) -> Kernel:
    """The step on `count` values, a multiple of `lanes`; a binary step's operand is a second input."""

    def build() -> Any:
        from secateur.codegen.tir import T, load, prim_func, store

        def body(x: Any, y: Any, output: Any, _: Any, begin: Any, end: Any) -> None:
            with T.serial(begin, end) as task:
                at = task * lanes
                result = apply((step,), load(x, at, lanes), lambda _: load(y, at, lanes), Vector(lanes))
                store(output, at, result, lanes)

        return prim_func(["x", "y", "output"], body)

    return Kernel("step", (step, lanes), build, count // lanes)


def evaluate(step: Step, x: np.ndarray, y: np.ndarray, lanes: int) -> np.ndarray:
    return call(elementwise_kernel(step, x.size, lanes), TARGETS[0], [x, y], np.zeros_like(x))


SPECIAL = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-40,
    3e38,
    -3e38,
    88.7,
    104.0,
    -104.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    -2.0,
]


@pytest.mark.parametrize("lanes", [1, TARGETS[0].lanes])
@pytest.mark.parametrize("name", [f.name for f in FUNCTIONS.values()])
def test_step(name: str, lanes: int) -> None:
    """Every row of the table, special values included, against its meaning in float64."""
    function = FUNCTIONS[name]
    step = Step(name, function.defaults)
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [np.repeat(SPECIAL, 16), rng.standard_normal(512) * 4, rng.uniform(-90, 90, 256)]
    ).astype(np.float32)
    y = np.concatenate([np.tile(SPECIAL, 16), rng.integers(-3, 4, 256), rng.standard_normal(512)]).astype(
        np.float32
    )
    operands = [y.astype(np.float64)] if function.arity == 2 else []
    with np.errstate(all="ignore"):
        want = function.evaluate(x.astype(np.float64), *operands, *step.params).astype(np.float32)
    got = evaluate(step, x, y, lanes)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=_absolute(name))


def _absolute(name: str) -> float:
    """silu divides by a sum that overflows a little before its result underflows."""
    return 1e-6 if name in CANCELLING else 2e-37 if name == "silu" else 1e-37


CANCELLING = (
    "gelu",
    "gelu_tanh",
    "mish",
    "softplus",
    "hard_sigmoid",
    "hard_swish",
    "log",
    "add",
    "sub",
    "rsub",
    "silu",
)


# Refusals


def test_direct_refuses_groups() -> None:
    spec = conv(4, (4, 4), 4, 3, groups=2, in_layout="NCHW")
    assert DIRECT.applicable(spec, TARGETS[0]) == "2 groups"


def test_direct_refuses_plain_input_of_many_channels() -> None:
    spec = conv(64, (4, 4), 16, 3, in_layout="NCHW", out_layout="NCHW16c")
    assert DIRECT.applicable(spec, TARGETS[0]) == "layouts NCHW -> NCHW16c"


@pytest.mark.parametrize(
    ("more", "reason"),
    [({"strides": (2, 2)}, "strides"), ({"dilations": (2, 2)}, "dilations"), ({"groups": 2}, "2 groups")],
)
def test_winograd_refuses(more: dict[str, Any], reason: str) -> None:
    assert reason in str(WINOGRAD[0].applicable(conv(16, (8, 8), 16, 3, **more), TARGETS[0]))


def test_pointwise_refuses_padding() -> None:
    assert "pads" in str(POINTWISE.applicable(conv(16, (8, 8), 16, 1, pads=(1, 1, 1, 1)), TARGETS[0]))


def test_depthwise_refuses_a_multiplier() -> None:
    assert "10 groups" in str(DEPTHWISE.applicable(GROUPED_CASES["multiplier"], TARGETS[0]))


def test_grouped_refuses_one_group() -> None:
    assert GROUPED.applicable(conv(16, (8, 8), 16, 3), TARGETS[0]) == "a single group"


def test_groups_must_divide() -> None:
    with pytest.raises(ValueError, match="2 groups do not divide 5 channels"):
        conv(5, (8, 8), 16, 3, groups=2)


def test_kernel_must_fit() -> None:
    with pytest.raises(ValueError, match="does not fit 2x2"):
        conv(5, (2, 2), 16, 3)


def test_extras_must_match_the_epilogue() -> None:
    with pytest.raises(ValueError, match="takes 1 extra operands, 0 are given"):
        conv(5, (4, 4), 16, 3, epilogue=RESIDUAL)


def test_extra_kinds_are_known() -> None:
    with pytest.raises(ValueError, match="unknown kind of extra operand 'row'"):
        conv(5, (4, 4), 16, 3, epilogue=RESIDUAL, extras=("row",))


def test_kernels_have_tasks() -> None:
    with pytest.raises(ValueError, match="0 tasks"):
        Kernel("empty", (), lambda: None, 0)


def test_llvm_names_what_it_cannot_parse() -> None:
    with pytest.raises(RuntimeError, match="expected"):
        compile_object("define internal void @k_kernel(ptr %0, i32 %b, i32 %e) { nonsense }", "k", TARGETS[0])


def test_object_needs_its_kernel() -> None:
    with pytest.raises(ValueError, match="does not define k_kernel"):
        compile_object("", "k", TARGETS[0])


def test_code_is_reproducible() -> None:
    from secateur.codegen.tvm_lowering import lower

    spec = replace(DIRECT_CASES["gray"], out_layout=f"NCHW{TARGETS[0].lanes}c")
    first, second = (lower(DIRECT.kernel(spec, TARGETS[0]), "k", TARGETS[0]) for _ in range(2))
    assert first == second
