"""The C runtime as C: the example program, sanitizers, and the processor's feature table."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import llvmlite.binding as llvm
import numpy as np
import pytest

from secateur.codegen.link import build_folder
from secateur.codegen.runtime_files import RUNTIME_SOURCES
from secateur.codegen.sources import model_header, thread_cost
from secateur.codegen.targets.rows import PROCESSORS

from .sanitized import MEMORY, RUNTIME, WARNINGS, gcc, sanitized, sanitizing

EXAMPLE = RUNTIME.parent / "examples" / "c"
STRESS = Path(__file__).with_name("stress.c")
OPTIONS = Path(__file__).with_name("options.c")


@pytest.fixture(scope="module")
def compiler() -> str:
    return gcc()


def _image(programs: ModuleType, path: Path) -> np.ndarray:
    x = np.random.default_rng(5).standard_normal((programs.ROWS, programs.COLUMNS), dtype=np.float32)
    x.tofile(path)
    return x


def _answer(programs: ModuleType, x: np.ndarray) -> str:
    y = programs.expected(x)[0].reshape(-1)
    return f"class {y.argmax()}, score {y.max():g}"


def _build(program: object, main: Path, output: Path, sanitizer: str = MEMORY) -> Path:
    """Compiles model and `main` with the host's own compiler, and links the sanitized runtime."""
    with build_folder(program) as folder:  # type: ignore[arg-type]
        objects = [
            *sanitized(RUNTIME_SOURCES, folder, sanitizer),
            "driver.o",
            *map(str, folder.glob("kernel*.o")),
        ]
        flags = ["-std=c11", "-g", *WARNINGS, *sanitizing(sanitizer), "-I."]
        command = [gcc(), *flags, str(main), "model_table.c", *objects, "-lm", "-lpthread", "-o", str(output)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    return output


def test_example_links_against_the_artifact(
    compiler: str, model_dir: Path, programs: ModuleType, tmp_path: Path
) -> None:
    make = shutil.which("make") or pytest.skip("make is not installed: apt-get install make")
    arguments = [
        make,
        "-f",
        str(EXAMPLE / "Makefile"),
        f"MODEL={model_dir}",
        f"CC={compiler}",
        "CFLAGS=-O2 -Wall -Werror",
    ]
    subprocess.run(arguments, cwd=tmp_path, check=True, capture_output=True)
    x = _image(programs, tmp_path / "x.raw")
    done = subprocess.run(
        [tmp_path / "classify", "-t", "2", "x.raw"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == f"x.raw: {_answer(programs, x)}\n", done.stderr
    for arguments, message in (
        (["absent"], "absent: cannot be opened"),
        ([], "usage"),
        (["-t", "999", "x.raw"], "range"),
    ):
        done = subprocess.run(
            [tmp_path / "classify", *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert message in done.stderr


@pytest.fixture(scope="module")
def example(programs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example program, sanitized."""
    output = tmp_path_factory.mktemp("sanitized") / "classify"
    return _build(programs.scale_relu_sum(), EXAMPLE / "classify.c", output)


@pytest.mark.parametrize("threads", [1, 4])
def test_example_is_clean_under_address_and_undefined_sanitizers(
    example: Path, programs: ModuleType, tmp_path: Path, threads: int
) -> None:
    x = _image(programs, tmp_path / "x.raw")
    command = [str(example), "-t", str(threads), "x.raw", "x.raw"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(_answer(programs, x)) == 2
    assert done.stderr == ""


@pytest.mark.parametrize("sanitizer", ["thread", MEMORY])
def test_pool_is_clean_under_stress(programs: ModuleType, tmp_path: Path, sanitizer: str) -> None:
    binary = _build(programs.scale_relu_sum(repeats=20), STRESS, tmp_path / "stress", sanitizer)
    done = subprocess.run(_fixed_addresses(str(binary)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "ok\n"


def test_options_of_every_size_are_read_to_their_end_and_no_further(
    programs: ModuleType, tmp_path: Path
) -> None:
    binary = _build(programs.scale_relu_sum(), OPTIONS, tmp_path / "options")
    done = subprocess.run([binary], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SECATEUR_OPTIONS_INIT sets the size" in done.stdout


PLUS_PLUS = """
#include "secateur.h"
secateur_options of(int32_t threads) {
    secateur_options options = SECATEUR_OPTIONS_INIT;
    options.threads = threads;
    return options;
}
"""


def test_the_header_is_cpp_too(tmp_path: Path) -> None:
    (tmp_path / "main.cpp").write_text(PLUS_PLUS)
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{RUNTIME}"]
    command = [sys.executable, "-m", "ziglang", "c++", *flags, "-c", "main.cpp", "-o", "main.o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("sanitizer", ["thread", MEMORY])
def test_pool_shares_tasks_among_all_threads(tmp_path: Path, sanitizer: str) -> None:
    flags = ["-std=c11", *sanitizing(sanitizer), *WARNINGS, f"-I{RUNTIME}"]
    if sanitizer == "thread":
        flags.append("-DFEW")  # it sees what may meet, whether or not it does, and takes ten times as long
    main, binary = str(STRESS.with_name("pool.c")), str(tmp_path / "pool")
    command = [gcc(), *flags, main, *sanitized(["pool.c"], tmp_path, sanitizer), "-lpthread", "-o", binary]
    subprocess.run(command, check=True)
    done = subprocess.run(_fixed_addresses(binary), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok\n"


LARGE = """
#include <stdio.h>
#include "model.h"
#if MODEL_ARENA_BYTES(256) != %(most)s
#error as the preprocessor counts
#endif
int main(void) {
    int threads = 256;
    printf("%%llu\\n", MODEL_ARENA_BYTES(threads));
    return MODEL_ARENA_BYTES(threads) < MODEL_ARENA_BYTES(1);
}
"""


def test_the_arena_of_many_threads_is_counted_without_overflow(
    compiler: str, programs: ModuleType, tmp_path: Path
) -> None:
    program = replace(programs.scale_relu_sum(), workspace_bytes=9 << 20)
    cost = thread_cost(program)
    most = cost.first + 255 * cost.next
    assert most > 1 << 31
    (tmp_path / "model.h").write_text(model_header(program))
    (tmp_path / "main.c").write_text(LARGE % {"most": most})
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{most}\n")


def _fixed_addresses(binary: str) -> list[str]:
    """gcc 12's thread sanitizer cannot place its shadow where kernels randomize addresses widely."""
    return ["setarch", "-R", binary] if shutil.which("setarch") else [binary]


def _known_features() -> dict[str, set[str]]:
    """Feature names of cpu.c by architecture."""
    x86, arm = (RUNTIME / "cpu.c").read_text().split("#elif")
    aarch64, armv7 = arm.split("#ifdef __aarch64__")[1].split("#else\n    {", 1)
    rows = {"x86_64": x86, "aarch64": aarch64, "armv7": "{" + armv7}
    return {arch: set(re.findall(r'\{"([^"]+)",', text)) for arch, text in rows.items()}


def test_every_targets_features_can_be_checked() -> None:
    known = _known_features()
    for target in PROCESSORS.values():
        unknown = set(target.features) - known[target.triple.split("-")[0]]
        assert not unknown, f"{target.name}: runtime/cpu.c does not know {unknown}"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="compares with LLVM on x86-64")
def test_feature_table_agrees_with_llvm(compiler: str, tmp_path: Path) -> None:
    names = sorted(_known_features()["x86_64"])
    calls = "".join(f'printf("%d\\n", rt_cpu_has("{name}"));' for name in names)
    main = f'int main(void) {{ {calls} return rt_cpu_has("no-such"); }}'
    (tmp_path / "main.c").write_text(f'#include <stdio.h>\n#include "internal.h"\n{main}\n')
    sources = [str(tmp_path / "main.c"), str(RUNTIME / "cpu.c")]
    command = [compiler, "-std=c11", f"-I{RUNTIME}", *sources, "-o", str(tmp_path / "main")]
    subprocess.run(command, check=True)
    found = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.split()
    llvms = llvm.get_host_cpu_features()
    ours = {name: bool(int(value)) for name, value in zip(names, found, strict=True) if name in llvms}
    assert ours == {name: llvms[name] for name in ours}
    assert len(ours) > 50
