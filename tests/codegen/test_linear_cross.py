"""8-bit kernels for ARM under qemu-user: the bits of the interpreter."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.artifact import write_artifact
from secateur.codegen.objects import build_object
from secateur.codegen.primitives.operator import Constant, to_layout
from secateur.codegen.primitives.registry import candidates
from secateur.codegen.program import Call, KernelObject, Port, Program, Ref, Space
from secateur.codegen.targets import TARGETS, Target
from secateur.ir import interpreter
from secateur.ir.graph import Operator

from .generic_harness import from_layout, lay_out
from .linear_harness import Array, conv_case, matmul_case

EMULATORS = {
    "armv8-a": ["qemu-aarch64", "-cpu", "cortex-a53"],
    "armv7-a+neon": ["qemu-arm", "-cpu", "cortex-a7"],
}
SAME = (1, 1, 1, 1)
CASES = {
    "direct": conv_case(1, (1, 20, 6, 7), 33, (3, 3), pads=SAME, zero=7, residual=True, result_zero=9),
    "pointwise": conv_case(2, (1, 40, 5, 3), 48, (1, 1), limits=(0, 200)),
    "grouped": conv_case(3, (1, 12, 5, 5), 24, (3, 3), groups=3, zero=128, real=True),
    "dense": matmul_case(4, 2, 35, 20, zero=5),
    "direct_image": conv_case(5, (1, 3, 9, 8), 16, (3, 3), pads=SAME, strides=(2, 2), zero=100),
}

pytestmark = pytest.mark.slow  # the first link for a target builds its libc: minutes


class _Builder:
    """A program that computes every case from inputs of its own, all in the layouts of the kernels."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.inputs: list[Array] = []
        self.outputs: list[Operator] = []
        self.calls: list[Call] = []
        self.kernels: list[KernelObject] = []
        self.weights: list[Array] = []
        self.workspace = 0

    def add(self, name: str, op: Operator, arrays: list[Array]) -> None:
        primitive = next(p for p in candidates(op) if p.name == name.split("_")[0])
        layouts, result = primitive.layouts(op, self.target)[0]
        lay_out(op, layouts, result)
        kernel = primitive.kernel(op, self.target)
        self.kernels.append(build_object(kernel, f"k_{name}", self.target))
        self.workspace = max(self.workspace, kernel.workspace)
        places = [
            self._weights(a.array)
            if isinstance(a, Constant)
            else self._input(to_layout(arrays[a.index], layouts[a.index]))
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
            tuple(Port(f"x{i}", "u8", a.shape) for i, a in enumerate(self.inputs)),
            tuple(Port(f"y{i}", *result) for i, result in enumerate(results)),
            tuple(self.calls), tuple(self.kernels), tuple(self.weights), tuple(map(int, offsets)),
            max(64, self.workspace), max(64, self.workspace),
        )  # fmt: skip


@pytest.mark.parametrize("name", list(EMULATORS))
def test_arm_gives_the_interpreters_bits(name: str, tmp_path: Path) -> None:
    emulator = EMULATORS[name]
    if shutil.which(emulator[0]) is None:
        pytest.skip(f"{emulator[0]} is not installed: apt-get install qemu-user")
    builder = _Builder(TARGETS[name])
    for case, (op, arrays) in CASES.items():
        builder.add(case, op, arrays)
    folder = write_artifact(builder.program(), tmp_path / "model", "dir")
    files = []
    for i, array in enumerate(builder.inputs):
        np.save(tmp_path / f"x{i}.npy", array)
        files += ["--input", str(tmp_path / f"x{i}.npy")]
    for i in range(len(CASES)):
        files += ["--output", str(tmp_path / f"y{i}.npy")]
    command = [*emulator, str(folder / "bench"), "--iterations", "1", "--threads", "2", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for i, (op, arrays) in enumerate(CASES.values()):
        got = from_layout(np.load(tmp_path / f"y{i}.npy"), op.result.type)
        np.testing.assert_array_equal(got, interpreter.evaluate(op, arrays)[0], list(CASES)[i])
