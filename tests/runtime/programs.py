"""Small programs with kernels in LLVM IR, for tests of everything behind lowering.

The model: y = relu(x * w), rows x columns of float32, where the first kernel
goes through the workspace; total = the sum of y's columns per row.
"""

from __future__ import annotations

from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np

from secateur.codegen.backends.cpu.machine import target_machine
from secateur.codegen.program import Call, Module, Port, Program, Ref, Space
from secateur.codegen.targets.isa import AVX2, NEON32, NEON64
from secateur.codegen.targets.target import Cpu, Target

ROWS, COLUMNS = 37, 24
X86 = Target("x86", Cpu("x86_64-unknown-linux-gnu", "x86_64-linux-gnu.2.17", "x86-64", AVX2))
AARCH64 = Target(
    "arm64", Cpu("aarch64-unknown-linux-gnu", "aarch64-linux-gnu.2.17", "generic", NEON64, ("neon",))
)
ARMV7 = Target(
    "armv7",
    Cpu("armv7-unknown-linux-gnueabihf", "arm-linux-gnueabihf.2.17", "generic", NEON32, ("neon", "vfp4")),
)

# One row a task. `{element}` and `{finish}` say what is done with each element and with the row's sum.
_LOOP = """
target triple = "{triple}"
define void @{symbol}(ptr %args, ptr %workspace, i32 %begin, i32 %end) {{
entry:
  %slot1 = getelementptr ptr, ptr %args, i32 1
  %slot2 = getelementptr ptr, ptr %args, i32 2
  %a = load ptr, ptr %args
  %b = load ptr, ptr %slot1
  %c = load ptr, ptr %slot2
  %any = icmp slt i32 %begin, %end
  br i1 %any, label %row, label %done
row:
  %i = phi i32 [ %begin, %entry ], [ %i1, %rowend ]
  %base = mul i32 %i, {columns}
  br label %column
column:
  %j = phi i32 [ 0, %row ], [ %j1, %column ]
  %sum = phi float [ 0.0, %row ], [ %sum1, %column ]
  %at = add i32 %base, %j
  %pa = getelementptr float, ptr %a, i32 %at
  %va = load float, ptr %pa, align 4
  %sum1 = fadd float %sum, %va
{element}
  %j1 = add i32 %j, 1
  %more = icmp slt i32 %j1, {columns}
  br i1 %more, label %column, label %rowend
rowend:
{finish}
  %i1 = add i32 %i, 1
  %next = icmp slt i32 %i1, %end
  br i1 %next, label %row, label %done
done:
  ret void
}}
"""
_SCALE = """
  %pb = getelementptr float, ptr %b, i32 %j
  %vb = load float, ptr %pb, align 4
  %product = fmul float %va, %vb
  %pw = getelementptr float, ptr %workspace, i32 %j
  store volatile float %product, ptr %pw, align 4
  %vw = load volatile float, ptr %pw, align 4
  %pc = getelementptr float, ptr %c, i32 %at
  store float %vw, ptr %pc, align 4
"""
_RELU = """
  %positive = fcmp ogt float %va, 0.0
  %vr = select i1 %positive, float %va, float 0.0
  %pb = getelementptr float, ptr %b, i32 %at
  store float %vr, ptr %pb, align 4
"""
_SUM = """
  %ps = getelementptr float, ptr %b, i32 %i
  store float %sum1, ptr %ps, align 4
"""


def kernel(target: Target, symbol: str, element: str = "", finish: str = "") -> Module:
    """A row kernel compiled for `target`."""
    text = _LOOP.format(triple=target.triple, symbol=symbol, columns=COLUMNS, element=element, finish=finish)
    machine = target_machine(target)
    return Module(symbol, machine.emit_object(llvm.parse_assembly(text)), {"ll": text})


def scale_relu_sum(target: Target = X86, name: str = "tiny", rows: int = ROWS, repeats: int = 1) -> Program:
    """The model of this file; `repeats` makes the calls of the middle step several times."""
    table = {
        "k_scale": kernel(target, "k_scale", _SCALE),
        "k_relu": kernel(target, "k_relu", _RELU),
        "k_sum": kernel(target, "k_sum", finish=_SUM),
    }
    weights = (np.linspace(-1, 1, COLUMNS, dtype=np.float32), np.arange(5, dtype=np.int8))
    size = rows * COLUMNS * 4
    place = -(-size // 64) * 64
    x, scaled, y = Ref(Space.INPUT, 0), Ref(Space.ARENA, offset=0), Ref(Space.OUTPUT, 0)
    relu = Call("k_relu", (scaled, y, y), rows, "relu_1", "nn.relu")
    calls = (
        Call("k_scale", (x, Ref(Space.WEIGHTS, offset=64), scaled), rows, 'mul "1"', "nn.mul",
             workspace=place, macs=rows * COLUMNS),
        *([relu] * repeats),
        Call("k_sum", (y, Ref(Space.OUTPUT, 1), y), rows, "sum_1", "nn.sum"),
    )  # fmt: skip
    return Program(
        name, target, (Port("x", "f32", (rows, COLUMNS)),),
        (Port("y", "f32", (rows, COLUMNS)), Port("total", "f32", (rows,))), calls, tuple(table.values()),
        (weights[1], weights[0]), (0, 64), place + COLUMNS * 4, COLUMNS * 4, {"producer": "test"},
    )  # fmt: skip


def expected(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The model's answers, in its order of additions."""
    y = np.maximum(x * np.linspace(-1, 1, COLUMNS, dtype=np.float32), np.float32(0))
    total = np.zeros(len(x), np.float32)
    for column in y.T:
        total += column
    return y, total


def with_features(program: Program, *features: str) -> Program:
    """The same machine code, said to need `features`."""
    return on(program, replace(program.target.cpu, features=features))


def on(program: Program, cpu: Cpu) -> Program:
    """The same machine code, said to be for another processor."""
    return replace(program, target=replace(program.target, machine=cpu))
