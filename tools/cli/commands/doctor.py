"""`secateur doctor`: what is installed, what is missing, and the line that installs it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from ...report import print_json
from ...tables import table
from ..common import Json


@dataclass(frozen=True)
class Finding:
    """One thing looked for. `required`: compiling does not work without it."""

    name: str
    purpose: str
    required: bool
    found: str | None
    install: str

    @property
    def state(self) -> str:
        return "ok" if self.found else "MISSING" if self.required else "absent"


_PACKAGES = (  # distribution, purpose, required, version wanted
    ("numpy", "arrays", True, ">=2.0,<3"),
    ("apache-tvm", "lowers kernels to LLVM IR", True, "==0.27.*"),
    ("llvmlite", "builds object files", True, "==0.50.*"),
    ("ziglang", "compiles the C runtime and links, for every target", True, "==0.17.*"),
    ("onnx", "reads models", True, ">=1.20,<2"),
    ("networkx", "graph algorithms of the selector", True, ">=3.4,<4"),
    ("threadpoolctl", "one thread for each matrix product", True, ">=3.5,<4"),
    ("safetensors", "weights beside IR text", True, ">=0.6,<1"),
    ("jinja2", "generated C sources", True, ">=3.1,<4"),
    ("rich", "progress", True, ">=14,<16"),
    ("typer", "this command line", True, ">=0.20,<0.29"),
    ("ai-edge-litert", "writes TFLite files, and runs them", False, ">=2.1"),
    (
        "nvidia-cuda-nvcc-cu12",
        "ptxas: code for GPUs that boards need not compile (--cubin)",
        False,
        "==12.9.*",
    ),
    ("onnxruntime", "reference of `compare`, peer of the demo", False, ">=1.20"),
)
_CUDA = 'pip install "secateur[cuda]"'
_PROGRAMS = (  # program, purpose, Debian package
    ("qemu-aarch64", "runs AArch64 artifacts here", "qemu-user"),
    ("qemu-arm", "runs ARMv7 artifacts here", "qemu-user"),
    ("gcc", "builds C programs around an artifact", "gcc"),
)


def findings() -> Iterator[Finding]:
    """Everything that is looked for, required things first."""
    python = platform.python_version()
    yield Finding(
        "python",
        "3.11 or newer",
        True,
        python if sys.version_info >= (3, 11) else None,
        "apt-get install python3",
    )
    yield Finding(
        "processor",
        "runs artifacts compiled for `host`",
        False,
        _processor(),
        "an x86-64, AArch64 or ARMv7 machine",
    )
    for name, purpose, required, wanted in _PACKAGES:
        yield Finding(name, purpose, required, _version(name, wanted), f'pip install "{name}{wanted}"')
    yield Finding(
        "kernel cache",
        "compiled kernels are kept",
        False,
        _cache(),
        f"a folder of yours (chmod 700 {_cache_folder()}), or set SECATEUR_CACHE",
    )
    yield Finding("ptxas", "finishes code for GPUs (--cubin)", False, _of_nvidia("ptxas"), _CUDA)
    yield Finding("nvdisasm", "shows such code (--dump-ir)", False, _of_nvidia("nvdisasm"), _CUDA)
    for program, purpose, package in _PROGRAMS:
        yield Finding(program, purpose, False, _program(program), f"apt-get install {package}")


def _processor() -> str | None:
    from secateur.codegen.targets.host import host

    try:
        target = host()
    except (ValueError, ImportError):
        return None
    return f"{platform.machine()}, {target.isa.name}, tuned as {target.cpu.core}"


def _version(name: str, wanted: str) -> str | None:
    """The installed version of a distribution where it satisfies `wanted`, else None."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return version if satisfies(version, wanted) else None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:3])


def satisfies(version: str, wanted: str) -> bool:
    """Whether a version fits `>=1.2,<2` or `==1.2.*`; the forms that pyproject.toml uses."""
    have = _numbers(version)
    fits: dict[str, Callable[[tuple[int, ...]], bool]] = {
        ">=": lambda bound: have >= bound,
        "<": lambda bound: have[: len(bound)] < bound,
        "==": lambda bound: have[: len(bound)] == bound,
    }
    clauses = [re.fullmatch(r"(>=|<|==)([\d.]+?)(?:\.\*)?", clause) for clause in wanted.split(",")]
    return all(clause is not None and fits[clause[1]](_numbers(clause[2])) for clause in clauses)


def _cache_folder() -> Path:
    from secateur.codegen.folder import chosen_folder

    return chosen_folder()


def _cache() -> str | None:
    """The cache's folder where it can be written (or made), else None."""
    from secateur.codegen.folder import refusal

    folder = _cache_folder()
    if folder.is_dir():
        return None if refusal(folder) else str(folder)
    existing = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    return str(folder) if os.access(existing, os.W_OK | os.X_OK) else None


def _of_nvidia(name: str) -> str | None:
    from secateur.codegen.backends.cuda.ptx import assembler

    path = getattr(assembler, name)()
    return str(path) if path else None


def _program(name: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return path
    return (done.stdout.splitlines() or [path])[0][:60]


def doctor(json: Json = False) -> None:
    """Say what is installed, what is missing, and how to install it.

    Exit code 1 where a required part is missing.
    """
    rows = list(findings())
    if json:
        print_json(
            {"ok": not _broken(rows), "findings": [asdict(row) | {"state": row.state} for row in rows]}
        )
    else:
        cells = ((r.state, r.name, r.found, r.purpose) for r in rows)
        print(table(("", "what", "found", "for"), cells, shorten=("found", "for")))
        for row in rows:
            if not row.found:
                print(f"{row.name}: {row.install}")
    if _broken(rows):
        raise typer.Exit(1)


def _broken(rows: list[Finding]) -> bool:
    return any(row.required and not row.found for row in rows)
