"""The cache: compiled kernels by the hash of everything that determines them.

The key covers the kernel's specification, the target, the versions of TVM and llvmlite, and the
sources of `codegen/`: editing a kernel never yields stale code. Processes may share the
folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
import struct
import zlib
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from .entries import read_entry, write_entry
from .folder import cache_folder
from .kernel import Kernel
from .program import Module
from .targets.target import Target


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
