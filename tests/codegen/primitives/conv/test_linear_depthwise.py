"""8-bit depthwise convolutions against the interpreter, to the bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.targets.rows import PROCESSORS, TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir.graph import Operator
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

from ....sampled import examples
from ...bytes_harness import REAL, activation, agree, runnable, some_bytes, stored
from ...generic_harness import Array

RUNNABLE = runnable()
BLOCKED = ("NCHW16c", "NCHW16c")


@dataclass(frozen=True)
class Case:
    """A depthwise convolution; `fill` makes all weights equal, `bias` is the largest."""

    channels: int
    height: int
    width: int
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilations: tuple[int, int] = (1, 1)
    batch: int = 1
    zero: int = 5
    result_zero: int = 3
    limits: tuple[int, int] = (0, 255)
    fill: int | None = None
    bias: int = 3000
    scale: float = 0.06
    residual: bool = False
    real: bool = False

    def operator(self) -> Operator:
        rng = np.random.default_rng(0)
        shape = (self.channels, 1, *self.kernel)
        filled = np.full(shape, self.fill or 0, np.int8)
        weights = rng.integers(-127, 128, shape).astype(np.int8) if self.fill is None else filled
        scales = tuple(map(float, rng.uniform(0.002, 0.008, self.channels)))
        w, b = (
            create("nn.constant", [], {"value": v}).result
            for v in (weights, rng.integers(-self.bias, self.bias, self.channels).astype(np.int32))
        )
        w.type = TensorType(shape, DType.I8, quant=Quant(scales, (0,) * self.channels, 0))
        operands = [activation((self.batch, self.channels, self.height, self.width), self.zero), w, b]
        result = REAL if self.real else stored(self.result_zero, self.limits, self.scale)
        window = {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}
        attributes = {**window, "groups": self.channels, **result}
        op = create("q.linear_conv", operands, attributes)
        if not self.residual:
            return op
        extra = activation(op.result.type.shape, 9, 0.04, "r")
        return create("q.linear_conv", [*operands, extra], attributes)

    def arrays(self, kind: str) -> list[Array]:
        op = self.operator()
        constants = [v.producer["value"] for v in op.operands[1:3] if v.producer is not None]
        residual = [some_bytes(op.result.type.shape)] if self.residual else []
        return [some_bytes(op.operands[0].type.shape, kind), *constants, *residual]


CASES = [
    Case(20, 9, 11),
    Case(32, 7, 7, zero=0, result_zero=0),
    Case(16, 30, 30, strides=(2, 2), result_zero=128, limits=(128, 255)),
    Case(5, 6, 13, (5, 5), pads=(2, 2, 2, 2), batch=2),
    Case(16, 23, 17, (5, 5), strides=(2, 2), pads=(2, 1, 2, 3)),
    Case(16, 8, 9, dilations=(2, 2), pads=(2, 2, 2, 2)),
    Case(16, 3, 3, (7, 7), pads=(3, 3, 3, 3)),
    Case(16, 9, 40, (1, 3), pads=(0, 1, 0, 1)),
    Case(16, 9, 9, strides=(3, 3)),
    Case(16, 15, 1),
    Case(16, 14, 14, fill=127, zero=255),
    Case(16, 2, 2, fill=-127, zero=0),
    Case(20, 9, 9, residual=True),
    Case(16, 9, 9, result_zero=0, limits=(0, 100), bias=1 << 30, scale=1e-6),
    Case(16, 9, 9, result_zero=0, limits=(0, 100)),
]


@pytest.fixture(params=RUNNABLE, ids=lambda t: t.name)
def target(request: pytest.FixtureRequest) -> Target:
    found: Target = request.param
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_depthwise(case: Case, target: Target) -> None:
    for kind in ("any", "extreme"):
        assert agree(case.operator, case.arrays(kind), target, "depthwise") == {BLOCKED}


def test_quads_have_strides_limits_and_large_sums() -> None:
    """Kernels that one row alone has; the others' cases take turns among the rows."""
    for target in [row for row in RUNNABLE if row.name == "x86-64-v4-vnni"]:
        for case in (CASES[2], CASES[12], CASES[13]):
            assert agree(case.operator, case.arrays("any"), target, "depthwise") == {BLOCKED}


def test_real_results_are_blocked_as_floats_are(target: Target) -> None:
    case = Case(20, 9, 9, real=True)
    offered = agree(case.operator, case.arrays("any"), target, "depthwise")
    assert offered == {("NCHW16c", f"NCHW{target.lanes}c")}


@examples(8, 25)
@given(st.data())
def test_any_shape(data: st.DataObject) -> None:
    kernel = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    pads = data.draw(st.tuples(*[st.integers(0, k // 2) for k in (*kernel, *kernel)]))
    height, width = (data.draw(st.integers(max(k, 1), 20)) for k in kernel)
    strides = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    channels = data.draw(st.sampled_from([3, 16, 33]))
    zero = data.draw(st.integers(0, 255))
    case = Case(channels, height, width, kernel, strides, pads, zero=zero)
    agree(case.operator, case.arrays("any"), RUNNABLE[0], "depthwise")


# Refusals


def _reason(name: str, case: Case, target: str = "x86-64-v4-vnni") -> str | None:
    op = case.operator()
    (found,) = (p for p in PRIMITIVES.candidates(op) if p.name == name)
    return found.applicable(op, TARGETS[target])


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (CASES[6], "wide windows or strides"),
        (CASES[8], "wide windows or strides"),
        (CASES[12], "has a residual or a real result"),
        (Case(16, 9, 9, real=True), "has a residual or a real result"),
    ],
)
def test_quads_refuse(case: Case, reason: str) -> None:
    assert _reason("depthwise_quads", case) == reason


_NO_COLUMNS = "needs a dot product of 128 bits"


def _has_columns(target: str) -> bool:
    return "dotprod" in TARGETS[target].features


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (CASES[3], "a kernel of (5, 5) with dilations (1, 1) takes too many registers"),
        (CASES[5], "a kernel of (3, 3) with dilations (2, 2) takes too many registers"),
        (Case(16, 9, 9, (1, 1), (3, 3), (0, 0, 0, 0)), "strides beyond the window"),
        (Case(16, 9, 9, real=True), "has a residual of some channels or a real result"),
    ],
)
def test_columns_refuse(case: Case, reason: str) -> None:
    assert _reason("depthwise_columns", case, "armv8.2-a+dotprod") == reason


@pytest.mark.parametrize("name", [name for name in PROCESSORS if not _has_columns(name)])
def test_columns_need_the_instruction(name: str) -> None:
    assert _reason("depthwise_columns", CASES[0], name) == _NO_COLUMNS


def test_quads_need_the_instruction() -> None:
    assert _reason("depthwise_quads", CASES[0], "x86-64-v4") == "needs AVX512-VNNI"


@pytest.mark.parametrize("target", PROCESSORS)
def test_several_filters_for_a_channel_are_refused(target: str) -> None:
    op = Case(4, 5, 5).operator()
    w = create("nn.constant", [], {"value": np.ones((8, 1, 3, 3), np.int8)}).result
    w.type = TensorType((8, 1, 3, 3), DType.I8, quant=Quant((0.1,) * 8, (0,) * 8, 0))
    bias = create("nn.constant", [], {"value": np.zeros(8, np.int32)}).result
    window = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1), "groups": 4}
    op = create("q.linear_conv", [op.operands[0], w, bias], {**window, **stored()})
    found = [p for p in PRIMITIVES.candidates(op) if p.name.startswith("depthwise")]
    several, has_quads = "4 groups of 4 channels and 8 filters", "avx512vnni" in TARGETS[target].features
    quads = several if has_quads else "needs AVX512-VNNI"
    columns = several if _has_columns(target) else _NO_COLUMNS
    reasons = {p.name: p.applicable(op, TARGETS[target]) for p in found}
    assert reasons == {
        "depthwise": several,
        "depthwise_quads": quads,
        "depthwise_columns": columns,
    }


def test_a_tap_takes_the_pipeline_that_multiplies_a_cycle() -> None:
    """By llvm-mca the layer takes 1.45 times as long: pixels are widened meanwhile, once for several taps."""
    target, case = TARGETS["rpi4"], Case(32, 112, 112)
    products = 9 * case.channels * case.height * case.width / target.lanes
    choices = AnalyticCosts(target).choices(case.operator())
    (seconds,) = (choice.seconds for choice in choices if choice.primitive == "depthwise")
    assert products < seconds * target.clock_ghz * 1e9 < 1.6 * products
