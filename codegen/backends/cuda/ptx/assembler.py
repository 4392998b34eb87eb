"""NVIDIA's assembler and disassembler, where they are installed: finished code, and its text.

PTX is compiled by the board's driver when a model is opened. What `ptxas` makes spares the board that, and
runs on one architecture alone.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from secateur.ir.errors import SecateurError
from secateur.ir.support.unfinished import temporary_folder

from ....targets.machine import Architecture

INSTALL = 'pip install "secateur[cuda]"'
_PACKAGES = ("nvidia.cuda_nvcc", "nvidia.cu13", "nvidia.cuda_nvdisasm")
_TOOLKIT = ("CUDA_HOME", "CUDA_PATH")  # variables that name a toolkit's folder
_MESSAGE_LINES = 5


def ptxas() -> Path | None:
    """The assembler, or None where there is none."""
    return _program("ptxas")


def nvdisasm() -> Path | None:
    """The disassembler, or None where there is none."""
    return _program("nvdisasm")


def assembler() -> Path:
    """SecateurError where there is none."""
    found = ptxas()
    if found is None:
        raise SecateurError(f"finished code for a GPU needs ptxas, which is not found: {INSTALL}")
    return found


def assemble(ptx: str, architecture: Architecture) -> bytes:
    """The cubin of a PTX text; SecateurError with what the assembler says where it refuses."""
    with temporary_folder("secateur-ptxas-") as folder:
        (folder / "model.ptx").write_text(ptx)
        _run([assembler(), f"-arch={architecture.name}", "model.ptx", "-o", "model.cubin"], folder)
        return (folder / "model.cubin").read_bytes()


def sass(cubin: bytes) -> str | None:
    """The instructions of finished code as text, or None where there is no disassembler.

    Newer ones than 13.0 know no architecture before sm_75; of such code the text says that.
    """
    found = nvdisasm()
    if found is None:
        return None
    with temporary_folder("secateur-nvdisasm-") as folder:
        (folder / "model.cubin").write_bytes(cubin)
        try:
            return _run([found, "-c", "model.cubin"], folder)
        except SecateurError as error:
            return f"// {error}\n"


def _run(command: list[str | Path], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-_MESSAGE_LINES:]
        raise SecateurError(
            f"{Path(command[0]).name} failed (exit code {done.returncode}): {'; '.join(lines)}"
        )
    return done.stdout


def _program(name: str) -> Path | None:
    """Of a Python package, else of a toolkit that a variable names, else on the path."""
    for folder in _folders():
        if (folder / name).is_file():
            return folder / name
    found = shutil.which(name)
    return Path(found) if found else None


def _folders() -> Iterator[Path]:
    for package in _PACKAGES:
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # nothing of NVIDIA's is installed
            continue
        yield from (Path(place) / "bin" for place in (spec and spec.submodule_search_locations) or ())
    yield from (Path(os.environ[name]) / "bin" for name in _TOOLKIT if os.environ.get(name))
