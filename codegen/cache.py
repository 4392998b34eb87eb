"""The kernel cache: compiled kernels by the hash of everything that determines them.

One zip file for each kernel (object, TIR, LLVM IR), written beside
and renamed, so that processes may share the folder. The key covers the
kernel's specification, the target, the versions of TVM and llvmlite, and the
sources of `codegen/`: editing a kernel never yields stale code. A damaged
entry counts as absent.
"""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from importlib.metadata import version
from pathlib import Path

import platformdirs

from .kernel import Kernel
from .program import KernelObject
from .targets import Target

_PARTS = ("object", "tir", "ll")


def cache_folder() -> Path:
    """`$SECATEUR_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("SECATEUR_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("secateur"))


@functools.cache
def compiler_fingerprint() -> str:
    """A hash of whatever else determines the code of a kernel."""
    digest = hashlib.sha256()
    for name in ("apache-tvm", "llvmlite"):
        digest.update(f"{name} {version(name)}".encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def kernel_symbol(kernel: Kernel, target: Target) -> str:
    """The kernel's C name; equal for equal kernels on equal targets."""
    machine = (target.triple, target.cpu, target.features, target.isa)
    text = repr((kernel.name, kernel.spec, kernel.overwritten, machine))
    return f"{kernel.name}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _path(symbol: str, target: Target) -> Path:
    key = hashlib.sha256(f"{symbol} {compiler_fingerprint()} {target.triple}".encode()).hexdigest()[:24]
    return cache_folder() / "kernels" / f"{symbol}-{key}.zip"


def load_kernel(symbol: str, target: Target) -> KernelObject | None:
    """The cached kernel, or None."""
    try:
        with zipfile.ZipFile(_path(symbol, target)) as archive:
            code, *texts = (archive.read(part) for part in _PARTS)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
    return KernelObject(symbol, code, *(text.decode() for text in texts))


def store_kernel(kernel: KernelObject, target: Target) -> None:
    """Adds a kernel to the cache; a cache that cannot be written is no error."""
    path = _path(kernel.symbol, target)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    contents: tuple[bytes | str, ...] = (kernel.object_code, kernel.tir, kernel.llvm_ir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            for part, content in zip(_PARTS, contents, strict=True):
                archive.writestr(part, content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
