"""Writing artifacts: contents, reproducibility, refusals, and what an interrupt leaves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from secateur.codegen import artifact
from secateur.codegen.artifact import write_artifact
from secateur.codegen.destination import SEAL_MAGIC
from secateur.codegen.program import Module
from secateur.codegen.program_check import ProgramError
from secateur.codegen.toolchain import LinkError
from secateur.ir.errors import SecateurError
from secateur.runtime.manifest import read_manifest


def _readelf(*arguments: object) -> str:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed: apt-get install binutils")
    return subprocess.run(
        ["readelf", "-W", *map(str, arguments)], capture_output=True, text=True, check=True
    ).stdout


def test_needs_libc_alone(model_so: Path) -> None:
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", _readelf("-d", model_so)))
    assert needed <= {"libc.so.6", "libpthread.so.0", "libm.so.6", "ld-linux-x86-64.so.2"}
    assert "libc.so.6" in needed


def test_exports_the_interface_alone(model_so: Path, model_dir: Path) -> None:
    declared = set(re.findall(r"SECATEUR_API .*?(secateur_\w+)\(", (model_dir / "model.h").read_text()))
    rows = [line.split() for line in _readelf("--dyn-syms", model_so).splitlines()]
    exported = {row[7] for row in rows if len(row) == 8 and row[4] == "GLOBAL" and row[6] != "UND"}
    for_gpus = {"secateur_run_device", "secateur_input_buffer", "secateur_output_buffer"}
    assert exported == declared - for_gpus
    assert "secateur_run" in declared


def test_is_stripped_and_names_no_path(model_so: Path) -> None:
    data = model_so.read_bytes()
    assert ".symtab" not in _readelf("-S", model_so)
    assert b"/tmp" not in data
    assert b"/home" not in data
    assert b".c\0" not in data


def test_weights_are_aligned_and_not_copied(model_so: Path) -> None:
    row = next(line for line in _readelf("-S", model_so).splitlines() if " .rodata" in line)
    assert row.split()[-1] == "64"


@pytest.mark.parametrize("kind", ["so", "tar"])
def test_the_same_program_gives_the_same_bytes(programs: ModuleType, tmp_path: Path, kind: str) -> None:
    dumps: dict[str, str | bytes] = {"ir/1.txt": "one", "ir/0.txt": b"zero"}
    first = write_artifact(programs.scale_relu_sum(), tmp_path / "a" / "first", kind, dumps)
    second = write_artifact(
        programs.scale_relu_sum(), tmp_path / "second", kind, dict(reversed(dumps.items()))
    )
    assert first.read_bytes() == second.read_bytes()


def test_tar_holds_everything_with_no_time_or_owner(programs: ModuleType, tmp_path: Path) -> None:
    path = write_artifact(programs.scale_relu_sum(), tmp_path / "m.tar", "tar", {"ir/0.txt": "text"})
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == ["bench", "ir/0.txt", "manifest.json", "model.h", "model.so"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert [m.mode for m in members if m.name in ("bench", "model.so")] == [0o755, 0o755]


def test_folder_is_replaced_whole(programs: ModuleType, tmp_path: Path) -> None:
    path = write_artifact(programs.scale_relu_sum(), tmp_path / "m", "dir", {"ir/old.sir": "old"})
    write_artifact(programs.scale_relu_sum(name="new"), path, "dir")
    assert sorted(os.listdir(path)) == ["bench", "manifest.json", "model.h", "model.so"]
    assert read_manifest(path)["name"] == "new"
    assert os.listdir(tmp_path) == ["m"]


def test_bench_runs_on_files(model_dir: Path, programs: ModuleType, tmp_path: Path) -> None:
    x = np.random.default_rng(3).standard_normal((programs.ROWS, programs.COLUMNS), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    x.tofile(tmp_path / "x.raw")
    for source in ("x.npy", "x.raw"):
        names = [
            f"--input={tmp_path / source}",
            f"--output={tmp_path / 'y.npy'}",
            f"--output={tmp_path / 't.npy'}",
        ]
        words = [word for name in names for word in name.split("=")]
        done = subprocess.run(
            [model_dir / "bench", "--threads", "2", "--iterations", "5", *words],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "tiny: 2 threads, 5 runs" in done.stdout
        assert "nn.relu relu_1" in done.stdout
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), programs.expected(x)[0])
        np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), programs.expected(x)[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "0"], "--threads: needs a number in range"),
        (["--threads", "257"], "tiny: an argument is null or out of range"),
        (["--iterations", "two"], "needs a number"),
        (["--speed", "9"], "unknown option"),
        (["--input"], "its value is missing"),
        (["--input", "absent.raw"], "absent.raw: the file cannot be opened"),
        (["--input", "short.raw"], "short.raw: the file is shorter than the input"),
        (["--input", "long.raw"], "long.raw: the file is longer than the input"),
        (["--input", "double.npy"], "another element type"),
        (["--input", "shape.npy"], "another shape"),
        (["--input", "fortran.npy"], "Fortran order"),
        (["--input", "raw.npy"], "not a .npy file"),
        (["--input", "a", "--input", "b"], "given more often"),
    ],
)
def test_bench_refuses(model_dir: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "short.raw").write_bytes(b"x")
    (tmp_path / "long.raw").write_bytes(bytes(3553))
    (tmp_path / "raw.npy").write_bytes(bytes(3552))
    np.save(tmp_path / "double.npy", np.zeros((37, 24)))
    np.save(tmp_path / "shape.npy", np.zeros((24, 37), np.float32))
    np.save(tmp_path / "fortran.npy", np.zeros((37, 24), np.float32, order="F"))
    done = subprocess.run([model_dir / "bench", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_linker_failure_is_one_clear_error(programs: ModuleType, tmp_path: Path) -> None:
    program = programs.scale_relu_sum()
    broken = replace(program, modules=(Module("k_scale", b"not an object"), *program.modules[1:]))
    with pytest.raises(
        LinkError, match=r"zig cc failed for x86_64-linux-gnu.2.17 \(exit code 1\):\n.*kernel0.o"
    ):
        write_artifact(broken, tmp_path / "model.so")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["so", "dir", "tar"])
def test_an_interrupt_leaves_what_was_there(
    programs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = write_artifact(programs.scale_relu_sum(name="before"), tmp_path / "artifact", kind)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("_place", "link_shared"):
        with monkeypatch.context() as patch:
            patch.setattr(artifact, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                write_artifact(programs.scale_relu_sum(name="after"), path, kind)
        assert os.listdir(tmp_path) == ["artifact"]
        assert read_manifest(path)["name"] == "before"


def test_other_peoples_files_are_not_replaced(programs: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious.txt").write_text("text")
    (tmp_path / "file").write_text("text")
    program = programs.scale_relu_sum()
    with pytest.raises(ValueError, match="holds no artifact; it is not replaced"):
        write_artifact(program, tmp_path / "folder", "dir")
    with pytest.raises(ValueError, match="is a folder; it is not replaced"):
        write_artifact(program, tmp_path / "folder", "so")
    with pytest.raises(ValueError, match="is a file; it is not replaced"):
        write_artifact(program, tmp_path / "file", "dir")


@pytest.mark.parametrize(
    "name", ["labels.txt", "bench.log", ".hidden", "ir/notes.txt", "ir/a/b.sir", "deep/er/ir/a.sir", "empty/"]
)
def test_a_folder_with_files_of_others_is_not_replaced(
    programs: ModuleType, tmp_path: Path, name: str
) -> None:
    path = write_artifact(programs.scale_relu_sum(), tmp_path / "m", "dir", {"ir/final.sir": "text"})
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).mkdir() if name.endswith("/") else (path / name).write_text("mine")
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    with pytest.raises(SecateurError, match=rf"files that are none of an artifact: .*{name.rstrip('/')}"):
        write_artifact(programs.scale_relu_sum(name="new"), path, "dir")
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before
    assert os.listdir(tmp_path) == ["m"]


def test_many_files_of_others_are_counted(programs: ModuleType, tmp_path: Path) -> None:
    path = write_artifact(programs.scale_relu_sum(), tmp_path / "m", "dir")
    for number in range(20):
        (path / f"x{number:02}").write_text("mine")
    with pytest.raises(SecateurError, match=r"x00, .*, x07 and 12 more; move them"):
        write_artifact(programs.scale_relu_sum(), path, "dir")


def test_a_library_of_others_is_no_artifact(programs: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.so").write_text("mine")
    with pytest.raises(SecateurError, match="holds no artifact; it is not replaced"):
        write_artifact(programs.scale_relu_sum(), tmp_path / "m", "dir")
    assert (tmp_path / "m" / "model.so").read_text() == "mine"


@pytest.mark.parametrize("name", ["../up.txt", "/etc/x", "model.so", "", "a/../../b"])
def test_dumps_stay_inside(programs: ModuleType, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a dump cannot be named"):
        write_artifact(programs.scale_relu_sum(), tmp_path / "m", "dir", {name: "text"})


def test_unknown_kinds_are_refused(programs: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown kind of artifact 'zip'; known: so, dir, tar"):
        write_artifact(programs.scale_relu_sum(), tmp_path / "m", "zip")


def test_weights_that_look_like_a_seal_are_refused(programs: ModuleType, tmp_path: Path) -> None:
    program = programs.scale_relu_sum()
    fake = np.frombuffer(SEAL_MAGIC, np.uint8)
    with pytest.raises(ProgramError, match="mark an artifact's seal"):
        write_artifact(replace(program, weights=(fake, program.weights[1])), tmp_path / "model.so")


def test_names_of_any_kind_survive(programs: ModuleType, tmp_path: Path) -> None:
    name = 'odd "name" */ \\ ??/ ünï\n%s'
    path = write_artifact(programs.scale_relu_sum(name=name), tmp_path / "m", "dir")
    assert read_manifest(path)["name"] == name
    done = subprocess.run([path / "bench", "--json", "--iterations", "1"], capture_output=True)
    assert done.returncode == 0
    check = "int main(void) { return MODEL_INPUT_COUNT - 1; }"
    (tmp_path / "check.c").write_text(f'#include "m/model.h"\n{check}\n')
    compiler = shutil.which("cc") or pytest.skip("no C compiler is installed: apt-get install gcc")
    subprocess.run([compiler, "-Wall", "-Werror", "-fsyntax-only", tmp_path / "check.c"], check=True)
