"""Artifacts for ARM, linked on this machine and run under qemu-user."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from secateur.codegen.artifact import write_artifact
from secateur.runtime.manifest import read_manifest

BOARDS = {"AARCH64": ("qemu-aarch64", "cortex-a53"), "ARMV7": ("qemu-arm", "cortex-a15")}


def _emulator(target: str) -> list[str]:
    name, cpu = BOARDS[target]
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed: apt-get install qemu-user")
    return [name, "-cpu", cpu]


pytestmark = pytest.mark.slow  # the first link for a target builds its libc: minutes


@pytest.fixture(scope="module", params=list(BOARDS))
def board(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(board: str, programs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = programs.scale_relu_sum(getattr(programs, board))
    return write_artifact(program, tmp_path_factory.mktemp("cross") / board, "dir")


@pytest.mark.parametrize("threads", [1, 3])
def test_bench_gives_the_hosts_answers(
    board: str, folder: Path, programs: ModuleType, tmp_path: Path, threads: int
) -> None:
    x = np.random.default_rng(7).standard_normal((programs.ROWS, programs.COLUMNS), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    options = ["--threads", str(threads), "--iterations", "3", "--json", "--input", str(tmp_path / "x.npy")]
    files = ["--output", str(tmp_path / "y.npy"), "--output", str(tmp_path / "total.npy")]
    command = [*_emulator(board), str(folder / "bench"), *options, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["label"] for row in report["operators"]] == ['mul "1"', "relu_1", "sum_1"]
    y, total = programs.expected(x)
    # ARMv7's vector unit flushes denormal numbers; none occur here, so the bits agree.
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), y)
    np.testing.assert_array_equal(np.load(tmp_path / "total.npy"), total)


def test_shared_object_needs_libc_alone(folder: Path) -> None:
    readelf = shutil.which("readelf") or pytest.skip("readelf is not installed: apt-get install binutils")
    text = subprocess.run(
        [readelf, "-dW", folder / "model.so"], capture_output=True, text=True, check=True
    ).stdout
    needed = re.findall(r"NEEDED.*\[(.*)\]", text)
    assert needed
    assert all(re.fullmatch(r"(libc|libm|libpthread|ld-linux-[a-z0-9-]+)\.so\.\d", name) for name in needed)


def test_a_missing_feature_is_a_message_and_no_illegal_instruction(
    board: str, programs: ModuleType, tmp_path: Path
) -> None:
    program = programs.with_features(programs.scale_relu_sum(getattr(programs, board)), "neon", "i8mm")
    path = write_artifact(program, tmp_path / "model", "dir")
    done = subprocess.run([*_emulator(board), path / "bench"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: tiny: this processor lacks 'i8mm', which the model needs\n"


def test_musl_shared_objects_link(board: str, programs: ModuleType, tmp_path: Path) -> None:
    program = programs.scale_relu_sum(getattr(programs, board))
    cpu = program.target.cpu
    triple = cpu.zig_triple.split(".")[0].replace("gnu", "musl")
    path = write_artifact(programs.on(program, replace(cpu, zig_triple=triple)), tmp_path / "m.so")
    assert read_manifest(path)["name"] == "tiny"
