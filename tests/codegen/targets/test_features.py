"""Every row's code has the instructions of its architecture and its features, and no others.

An artifact checks these features before it runs. One more that the code needs is an illegal instruction.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.backends.cpu import machine, objects
from secateur.codegen.backends.cpu.objects import assembly_of
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.kernel import Kernel
from secateur.codegen.program import Module
from secateur.codegen.targets.rows import PROCESSORS, TARGETS
from secateur.codegen.targets.target import Rates, Target
from secateur.codegen.tvm_lowering import lower
from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType

from ...sampled import in_turn, sampled
from ..bytes_harness import activation, stored
from ..generic_harness import lay_out
from ..instructions import needs, refused
from ..linear_harness import conv_case, matmul_case
from ..primitives.conv.test_half import conv as half_conv
from ..primitives.conv.test_linear_depthwise import Case as Depthwise
from ..primitives.conv.test_linear_winograd import layer

pytestmark = pytest.mark.slow  # a dozen kernels for every row

SAME = (1, 1, 1, 1)
SHAPE = (1, 20, 9, 11)


def _conv(filters: int, kernel: int, groups: int = 1) -> Operator:
    weights = np.ones((filters, SHAPE[1] // groups, kernel, kernel), np.float32)
    w = create("nn.constant", [], {"value": weights}).result
    window = {"strides": (1, 1), "pads": (kernel // 2,) * 4, "dilations": (1, 1), "groups": groups}
    return create("nn.conv", [Value(TensorType(SHAPE), "x"), w], {**window, "epilogue": (Step("relu"),)})


def _map(*names: str) -> Operator:
    return create("nn.map", [Value(TensorType(SHAPE), "x")], {"epilogue": tuple(map(Step, names))})


def operators() -> list[tuple[str, Operator]]:
    """Primitives, and operators that they compute: floats, bytes, and what leads from one to the other."""
    quantized = {"scales": (0.1,), "zero_points": (7,), "dtype": DType.U8}
    return [
        ("direct", _conv(33, 3)),
        ("depthwise", _conv(20, 3, 20)),
        ("", _map("exp", "tanh", "erf", "silu", "sqrt", "round")),
        ("", create("nn.softmax", [Value(TensorType(SHAPE), "x")], {"axis": 1})),
        ("linear_winograd", layer(SHAPE, 24, (4, 4), zero=7, result=3, residual=True)[0]),
        ("direct", conv_case(1, SHAPE, 33, (3, 3), pads=SAME, residual=True)[0]),
        ("pointwise", conv_case(2, SHAPE, 16, (1, 1), real=True)[0]),
        ("dense", matmul_case(4, 2, 35, 20, zero=5)[0]),
        ("depthwise", Depthwise(20, 9, 11).operator()),
        ("", create("q.linear_add", [activation(SHAPE, 5, name=n) for n in "ab"], stored(9, (9, 200)))),
        ("", create("q.quantize", [Value(TensorType(SHAPE), "x")], quantized)),
        ("", create("q.dequantize", [activation(SHAPE, 5)])),
    ]


@cache
def code(target: Target) -> str:
    """Assembly of a kernel for each of the operators; where several have one primitive, for every second."""
    cpu = target.cpu
    turn = [*FIRST].index((target.isa, cpu.triple, cpu.baseline, target.features))
    some = in_turn(operators(), turn, lambda row: row[0])
    return assembly([*some, *(halves() if target.half else [])], target)


def halves() -> list[tuple[str, Operator]]:
    """In binary16."""
    return [
        ("half_direct", half_conv(SHAPE, (33, 20, 3, 3), pads=SAME, residual=True)[0]),
        ("half_winograd4", half_conv(SHAPE, (24, 20, 3, 3), pads=SAME)[0]),
        ("half_depthwise", half_conv(SHAPE, (20, 1, 3, 3), pads=SAME, groups=20)[0]),
    ]


def assembly(wanted: Sequence[tuple[str, Operator]], target: Target) -> str:
    texts = []
    for number, (name, op) in enumerate(wanted):
        fitting = (
            p for p in PRIMITIVES.candidates(op) if name in ("", p.name) and p.applicable(op, target) is None
        )
        primitive = next(fitting)
        lay_out(op, *primitive.layouts(op, target)[0])
        symbol = f"k{number}"
        llvm_ir = lowered(primitive.kernel(op, target), symbol, target)
        texts.append(assembly_of(Module(symbol, b"", {"ll": llvm_ir}), target).replace(".L", f".L{symbol}_"))
    return "\n".join(texts)


_LOWERED: dict[Hashable, str] = {}


def lowered(kernel: Kernel, symbol: str, target: Target) -> str:
    """The kernel's LLVM IR, once for rows whose cores differ alone: these come in behind it."""
    cpu = target.cpu
    key = (kernel.name, kernel.spec, symbol, target.isa, cpu.triple, cpu.baseline, target.features)
    if key not in _LOWERED:
        _LOWERED[key] = lower(kernel, symbol, target)
    return _LOWERED[key]


def row(name: str) -> Target:
    """A row as far as instructions go: rows that differ in caches or clock alone are compiled once."""
    return Target("", TARGETS[name].machine, Rates(1.0, TARGETS[name].fma_per_cycle, l2_bytes=1 << 20))


def features(name: str) -> tuple[Hashable, ...]:
    """What the instructions of a row follow from."""
    cpu = TARGETS[name].cpu
    return TARGETS[name].isa, cpu.triple, cpu.baseline, TARGETS[name].features


DOTS = "armv8.2-a+dotprod"  # another row has the like, and arithmetic on 16-bit floats
FIRST = {features(name): name for name in reversed(PROCESSORS)}  # of rows whose cores alone differ


@pytest.mark.examples
@pytest.mark.parametrize("name", sampled(PROCESSORS, {*FIRST.values()} - {DOTS}))
def test_code_has_the_instructions_of_its_row_alone(name: str, tmp_path: Path) -> None:
    assert refused(code(row(name)), row(name), tmp_path) == []


@pytest.mark.parametrize(
    ("made", "run", "lacking"),
    [
        ("x86-64-v4-vnni", "x86-64-v4", "vpdpbusd requires avx512vnni"),
        ("x86-64-v4", "x86-64-v3", "requires avx512f"),
        ("x86-64-v3", "x86-64-v2", "requires avx2"),
    ],
)
def test_code_for_more_would_be_seen(made: str, run: str, lacking: str, tmp_path: Path) -> None:
    found = refused(code(row(made)), row(run), tmp_path)
    assert any(line.endswith(lacking) for line in found), found


def test_arithmetic_in_binary16_would_be_seen(tmp_path: Path) -> None:
    found = refused(assembly(halves(), TARGETS["rpi5"]), TARGETS["rpi4"], tmp_path)
    assert any("fullfp16" in line for line in found), found


@pytest.mark.parametrize(
    ("name", "lacking"),
    [("armv8.6-a+i8mm", "sve"), ("armv8.2-a+dotprod", "fullfp16"), ("rpi2", "mp-extensions")],
)
def test_the_cores_features_would_be_seen(
    name: str, lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled for whole cores, as these rows once were, kernels have instructions that the rows lack."""
    target = TARGETS[name]
    wrong = machine._machine(target.triple, target.cpu.core, ",".join(f"+{f}" for f in target.features))
    monkeypatch.setattr(objects, "target_machine", lambda _: wrong)
    some = [row for row in operators() if row[0] == "linear_winograd" or row[1].name == "q.linear_add"]
    found = refused(assembly(some, target), target, tmp_path)
    assert any(lacking in line for line in found), found


@pytest.mark.parametrize(
    ("instruction", "wanted"),
    [
        ("addps\t%xmm0, %xmm1", set()),
        ("pshufb\t%xmm0, %xmm1", {"ssse3"}),
        ("pmulld\t%xmm0, %xmm1", {"sse4.1"}),
        ("vaddps\t%ymm0, %ymm1, %ymm2", {"avx"}),
        ("vpaddd\t%ymm0, %ymm1, %ymm2", {"avx", "avx2"}),
        ("vfmadd231ps\t%ymm0, %ymm1, %ymm2", {"fma"}),
        ("vaddps\t%zmm0, %zmm1, %zmm2", {"avx", "avx512f"}),
        ("vaddps\t(%rax){1to8}, %ymm1, %ymm2", {"avx", "avx512f", "avx512vl"}),
        ("vpaddd\t%ymm0, %ymm1, %ymm17", {"avx", "avx512f", "avx512vl"}),
        ("vpdpbusd\t%zmm0, %zmm1, %zmm2", {"avx512vnni", "avx512f"}),
        ("vaddph\t%zmm0, %zmm1, %zmm2", {"avx512fp16", "avx512f"}),
        ("vcvtph2ps\t%xmm0, %ymm1", {"f16c"}),
        ("rorxl\t$3, %eax, %ebx", {"bmi2"}),
        ("popcntl\t%eax, %ebx", {"popcnt"}),
    ],
)
def test_what_x86_instructions_need(instruction: str, wanted: set[str]) -> None:
    assert needs(instruction) == wanted
