"""The cache: compiled kernels by the hash of everything that determines them.

The key covers the kernel's specification, the target, the versions of TVM and llvmlite, and the
sources of `codegen/`: editing a kernel never yields stale code. Processes may share the
folder. What lies there becomes machine code in an artifact, so it must be ours alone to write.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import stat
import struct
import warnings
import zlib
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path

import platformdirs

from secateur.ir.support.unfinished import temporary_folder

from .entries import read_entry, write_entry
from .kernel import Kernel
from .program import Module
from .targets.target import Target


def cache_folder() -> Path:
    """`$SECATEUR_CACHE`, else the user's cache folder; made where it is missing, for its owner alone.

    One that belongs to somebody else, that everybody may write, or that we may not, is not used:
    a warning says so once, and what would be kept is kept until the process ends.
    """
    return _usable(chosen_folder())


def chosen_folder() -> Path:
    """Where the cache is asked to be."""
    chosen = os.environ.get("SECATEUR_CACHE")
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_cache_dir("secateur"))


@functools.cache
def _usable(folder: Path) -> Path:
    reason = _made(folder) or refusal(folder)
    if reason is None:
        return folder
    warnings.warn(f"the cache {folder} {reason}; nothing is kept there", stacklevel=3)
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(temporary_folder("secateur-cache-"))


def _made(folder: Path) -> str | None:
    """Why the folder cannot be made, or None."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        return f"cannot be made ({error.strerror})"
    return None


def refusal(folder: Path) -> str | None:
    """Why a folder that exists is not fit to be the cache, or None."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        return f"belongs to another user (number {found.st_uid})"
    if found.st_mode & stat.S_IWOTH:
        return f"can be written by everybody (chmod 700 {folder} helps)"
    return None if os.access(folder, os.W_OK | os.X_OK) else "cannot be written"


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
    text = repr((kernel.name, kernel.spec, kernel.overwritten, target.machine))
    return f"{kernel.name}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def kernel_path(symbol: str) -> Path:
    """Where the cache has a kernel."""
    key = hashlib.sha256(f"{symbol} {compiler_fingerprint()}".encode()).hexdigest()[:24]
    return cache_folder() / "kernels" / f"{symbol}-{key}"


def load_kernel(symbol: str) -> Module | None:
    """The cached kernel, or None; a damaged entry counts as absent."""
    data = read_entry(kernel_path(symbol))
    if data is None:
        return None
    code, texts = _parts(zlib.decompress(data))
    return Module(symbol, code, json.loads(texts))


def store_kernel(kernel: Module) -> None:
    """Adds a kernel to the cache; a cache that cannot be written is no error."""
    data = _joined(kernel.code, json.dumps(dict(kernel.texts)).encode())
    with suppress(OSError):
        write_entry(kernel_path(kernel.symbol), zlib.compress(data, 1))


_LENGTH = struct.Struct("<Q")


def _joined(code: bytes, texts: bytes) -> bytes:
    return _LENGTH.pack(len(code)) + code + texts


def _parts(data: bytes) -> tuple[bytes, bytes]:
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    return data[_LENGTH.size : end], data[end:]
