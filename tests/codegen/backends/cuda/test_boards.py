"""Artifacts for boards, on their processors and under sanitizers, whichever call of the driver fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import secateur
from secateur import Int8, Watch
from secateur.codegen.backends.cuda.parts import on_host, parts_of
from secateur.codegen.backends.registry import backend_of
from secateur.codegen.link import build_folder
from secateur.codegen.runtime_files import DEVICE_SOURCES
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter
from secateur.ir.noise import noise
from tests.passes.texts import build
from tests.runtime.sanitized import RUNTIME, WARNINGS, gcc, sanitized, sanitizing

from ....sampled import sampled, whole
from ...simt.boards import build_driver
from ...simt.emulator import SOURCES, dumped, llvm_alone

EXAMPLE = RUNTIME.parent / "examples" / "c"
LIVES = SOURCES[0].with_name("lives.c")
BYTES = (
    "graph @g(%x: tensor<1x16x5x5xf32>) { %w = const : tensor<32x16x3x3xf32> "
    '%y = nn.conv(%x, %w) {SAME, epilogue = [relu]} : tensor<1x32x5x5xf32> return %y as "y" }'
)
FLOATS_ALONE = (
    "graph @g(%x: tensor<1x3x5x5xf32>) { %w = const : tensor<5x3x3x3xf32> "
    '%y = nn.conv(%x, %w) {SAME} : tensor<1x5x5x5xf32> return %y as "y" }'
)
SANITIZED = ["-g", *sanitizing()]
ZIG = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.17", "-s"]


def board_of(target: str, folder: Path) -> secateur.Artifact:
    """The network in bytes, and beside the artifact its input and answer."""
    asked = Int8("random:2", layers="all")
    watch = Watch(dump_ir=folder / "ir")
    with llvm_alone():
        made = secateur.compile(build(BYTES), folder / "model.so", target, quantize=asked, watch=watch)
    given = noise(made.graph)
    (folder / "input").write_bytes(given["x"].tobytes())
    (folder / "expected").write_bytes(interpreter.run(made.graph, given)["y"].tobytes())
    return made


def lives(folder: Path, step: int, emulator: Sequence[str] = (), **more: str) -> None:
    """One call of the driver in `step` fails in turn."""
    files = (str(folder / name) for name in ("lives", "model.so", "input", "expected"))
    command = [*emulator, *files, str(step)]
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder), **more}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


def run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def build_lives(folder: Path, compiler: Sequence[str]) -> None:
    run([*compiler, "-std=c11", "-O1", f"-I{RUNTIME}", str(LIVES), "-ldl", "-o", str(folder / "lives")])


def aarch64() -> list[str]:
    """Runs a program for AArch64 with its C library: that of Debian's cross compilers, or QEMU_LD_PREFIX."""
    root = os.environ.get("QEMU_LD_PREFIX", "/usr/aarch64-linux-gnu")
    if shutil.which("qemu-aarch64") is None or not (Path(root) / "lib/ld-linux-aarch64.so.1").exists():
        pytest.skip("needs qemu-aarch64 and AArch64's libc: apt-get install qemu-user libc6-arm64-cross")
    return ["qemu-aarch64", "-cpu", "cortex-a57", "-L", root]


@pytest.mark.filterwarnings("ignore:jetson-nano has no dot product")
@pytest.mark.parametrize(
    "target", sampled(["jetson-nano", "jetson-xavier", "jetson-orin"], ["jetson-nano", "jetson-orin"])
)
def test_a_boards_artifact_is_right_on_its_processor(target: str, tmp_path: Path) -> None:
    emulator = aarch64()
    board_of(target, tmp_path)
    modules = dumped(tmp_path / "ir" / "kernels")
    build_driver(tmp_path, modules, "aarch64-unknown-linux-gnu", ZIG)
    build_lives(tmp_path, ZIG)
    lives(tmp_path, 13, emulator)


@pytest.mark.examples
def test_the_runtime_is_clean_under_sanitizers(tmp_path: Path) -> None:
    compiler = gcc()
    made = board_of("cuda-sm_75", tmp_path)
    build_sanitized(made, tmp_path, compiler)
    modules = dumped(tmp_path / "ir" / "kernels")
    build_driver(tmp_path, modules, "x86_64-unknown-linux-gnu", [compiler, *SANITIZED])
    build_lives(tmp_path, [compiler, *SANITIZED])
    lives(tmp_path, 1 if whole() else 19)


@pytest.mark.filterwarnings("ignore:jetson-nano has no dot product")
def test_the_boards_runtime_is_clean_under_sanitizers(tmp_path: Path) -> None:
    """All but leaks, which cannot be looked for under qemu; the driver counts what is left with it."""
    emulator, compiler = aarch64(), gcc("aarch64-linux-gnu-")
    made = board_of("jetson-nano", tmp_path)
    build_sanitized(made, tmp_path, compiler, "jetson-nano")
    modules = dumped(tmp_path / "ir" / "kernels")
    build_driver(tmp_path, modules, "aarch64-unknown-linux-gnu", [compiler, *SANITIZED])
    build_lives(tmp_path, [compiler, *SANITIZED])
    lives(tmp_path, 41, emulator, ASAN_OPTIONS="detect_leaks=0")


def test_the_example_runs_on_memory_of_the_gpus(tmp_path: Path) -> None:
    """Twice on a stream of its own, in a context that it made current."""
    compiler = gcc()
    make = shutil.which("make") or pytest.skip("make is not installed: apt-get install make")
    graph, model = build(FLOATS_ALONE), tmp_path / "model"
    watch = Watch(dump_ir=tmp_path / "ir")
    with llvm_alone():
        secateur.compile(graph, model, "cuda-sm_75", kind="dir", watch=watch)
    build_driver(tmp_path, dumped(tmp_path / "ir" / "kernels"), "x86_64-unknown-linux-gnu", [compiler])
    given = noise(graph)
    (tmp_path / "input").write_bytes(given["x"].tobytes())
    flags = ["CFLAGS=-O1 -Wall -Wextra -Werror", f"CC={compiler}", f"MODEL={model}", f"CUDA={tmp_path}"]
    command = [make, "-f", str(EXAMPLE / "Makefile"), "device", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [tmp_path / "device", "input"], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = [float(line) for line in done.stdout.splitlines()]
    wanted = interpreter.run(graph, given)["y"].reshape(-1)[:5]
    np.testing.assert_allclose(found, wanted, 1e-5, 1e-5)


def build_sanitized(made: secateur.Artifact, folder: Path, compiler: str, name: str = "cuda-sm_75") -> None:
    """Replaces model.so by one whose runtime is sanitized."""
    target = GPUS[name]
    program = backend_of(target).emit(made.graph, target)
    with build_folder(on_host(program), parts_of(program)) as sources:
        objects = sanitized(DEVICE_SOURCES, sources, compiler=compiler)
        flags = [*SANITIZED, "-std=c11", "-shared", "-fPIC", *WARNINGS, "-I."]
        libraries = ["-lm", "-ldl", "-lpthread", "-o", str(folder / "model.so")]
        command = [compiler, *flags, "model_table.c", "driver.o", *objects, *libraries]
        done = subprocess.run(command, cwd=sources, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
