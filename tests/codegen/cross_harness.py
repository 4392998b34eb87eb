"""Runs kernels for ARM under qemu-user and holds them against the interpreter, to the bit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.artifact import write_artifact
from secateur.codegen.backends.cpu.objects import build_object
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.primitives.operator import Constant, to_layout
from secateur.codegen.program import Call, Module, Port, Program, Ref, Space
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.graph import Operator
from secateur.ir.types import DType

from .generic_harness import Array, from_layout, lay_out

EMULATORS = {
    "armv8-a": ["qemu-aarch64", "-cpu", "cortex-a53"],
    "armv8.2-a+dotprod": ["qemu-aarch64", "-cpu", "cortex-a76"],
    "armv8.6-a+i8mm": ["qemu-aarch64", "-cpu", "max"],
    "armv7-a+neon": ["qemu-arm", "-cpu", "cortex-a7"],
}
FLOATS = ("armv8-a", "armv7-a+neon")
"""Of these, those whose instructions on floats differ."""
HALF = "armv8.2-a+dotprod+fp16"
HALF_EMULATORS = {HALF: ["qemu-aarch64", "-cpu", "cortex-a76"]}
"""Of targets with arithmetic on 16-bit floats."""
IN_ORDER = "rpi3"
IN_ORDER_EMULATORS = {IN_ORDER: EMULATORS["armv8-a"]}
"""Of targets that are `Cpu.in_order`."""


@dataclass(frozen=True)
class Case:
    """An operator, its operands, the primitive that is tried, and which of the layouts that it offers.

    `atol` is its own tolerance: a number, or one for each element of the result.
    """

    primitive: str
    operator: Operator
    arrays: list[Array]
    layouts: int = 0
    atol: Any = None


class Builder:
    """A program that computes every case from inputs of its own, all in the layouts of the kernels."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.inputs: list[Array] = []
        self.outputs: list[Operator] = []
        self.calls: list[Call] = []
        self.kernels: list[Module] = []
        self.weights: list[Array] = []
        self.workspace = 0

    def add(self, case: Case) -> None:
        op, name = case.operator, f"case{len(self.calls)}"
        primitive = next(p for p in PRIMITIVES.candidates(op) if p.name == case.primitive)
        layouts, result = primitive.layouts(op, self.target)[case.layouts]
        lay_out(op, layouts, result)
        kernel = primitive.kernel(op, self.target)
        self.kernels.append(build_object(kernel, f"k_{name}", self.target))
        self.workspace = max(self.workspace, kernel.workspace)
        places = [
            self._weights(a.array)
            if isinstance(a, Constant)
            else self._input(to_layout(case.arrays[a.index], layouts[a.index]))
            for a in primitive.arguments(op, self.target)
        ]
        places.append(Ref(Space.OUTPUT, len(self.outputs)))
        self.outputs.append(op)
        self.calls.append(Call(f"k_{name}", tuple(places), kernel.tasks, name, op.name, workspace=0))

    def _input(self, array: Array) -> Ref:
        self.inputs.append(array)
        return Ref(Space.INPUT, len(self.inputs) - 1)

    def _weights(self, array: Array) -> Ref:
        ref = Ref(Space.WEIGHTS, offset=sum(-(-w.nbytes // 64) * 64 for w in self.weights))
        self.weights.append(array)
        return ref

    def program(self) -> Program:
        offsets = np.cumsum([0, *(-(-w.nbytes // 64) * 64 for w in self.weights)])[:-1]
        types = [op.result.type for op in self.outputs]
        results = [(t.dtype.value, t.layout.physical_shape(t.shape)) for t in types]
        return Program(
            "bytes", self.target,
            tuple(Port(f"x{i}", DType.of(a.dtype).value, a.shape) for i, a in enumerate(self.inputs)),
            tuple(Port(f"y{i}", *result) for i, result in enumerate(results)),
            tuple(self.calls), tuple(self.kernels), tuple(self.weights), tuple(map(int, offsets)),
            max(64, self.workspace), max(64, self.workspace),
        )  # fmt: skip


def results_on(name: str, cases: Sequence[Case], folder: Path) -> list[Array]:
    """Every case's result on the emulated target `name`; skips where there is no emulator."""
    emulator = (EMULATORS | HALF_EMULATORS | IN_ORDER_EMULATORS)[name]
    if shutil.which(emulator[0]) is None:
        pytest.skip(f"{emulator[0]} is not installed: apt-get install qemu-user")
    builder = Builder(TARGETS[name])
    for case in cases:
        builder.add(case)
    model = write_artifact(builder.program(), folder / "model", "dir")
    files = []
    for i, array in enumerate(builder.inputs):
        np.save(folder / f"x{i}.npy", array)
        files += ["--input", str(folder / f"x{i}.npy")]
    for i in range(len(cases)):
        files += ["--output", str(folder / f"y{i}.npy")]
    command = [*emulator, str(model / "bench"), "--iterations", "1", "--threads", "2", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    types = [case.operator.result.type for case in cases]
    return [from_layout(np.load(folder / f"y{i}.npy"), type_) for i, type_ in enumerate(types)]


def check_on(name: str, cases: Sequence[Case], folder: Path, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Every case's bits (or values within a tolerance) on the emulated target `name`."""
    for got, case in zip(results_on(name, cases, folder), cases, strict=True):
        wanted = interpreter.evaluate(case.operator, case.arrays)[0]
        what = f"{case.operator} by {case.primitive}"
        if case.atol is None:
            np.testing.assert_allclose(got, wanted, rtol, atol, err_msg=what)
        else:
            off = np.abs(got.astype(np.float64) - wanted) / (case.atol + np.finfo(got.dtype).tiny)
            assert off.max() <= 1, f"{what}: an error of {off.max():.3g} times what is stated"
