"""The codecs that are written in C alone: a library of the runtime's decoders and of their encoders.

What such a codec expects of the next weight is the same code on both sides, so that they cannot differ. It is
compiled once for this machine, by the compiler that artifacts are made with, and kept in the cache.
"""

from __future__ import annotations

import ctypes
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secateur.ir.support.unfinished import temporary_folder

from ..entries import read_entry, write_entry
from ..folder import cache_folder
from ..runtime_files import ENCODER_SOURCES, RUNTIME_FILES, runtime_folder
from ..toolchain import Toolchain
from .codec import Bytes

_TRIPLE = "native"
_FLAGS = ("-O2", "-shared", "-s")
_SLACK = 64


Told = NDArray[np.uint32]
"""What a head of the codec `mixed` says: `Head.told` of `mixed.py`."""


def encode_mixed(told: Told, data: Bytes, most: int) -> bytes:
    """The payload of the codec `mixed` of the first `most` bytes of `data`, as its head tells.

    MemoryError where there is none, or the head is none of so many bytes.
    """
    given, room = data.copy(), np.empty(2 * most + _SLACK, np.uint8)
    count = _library().secateur_encode_mixed(
        told.ctypes.data, given.ctypes.data, len(given), most, room.ctypes.data, len(room)
    )
    if count < 0:
        raise MemoryError(f"no memory to code {len(given)} weights")
    return room[:count].tobytes()


def learn_mixed(told: Told, data: Bytes, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the model of `mixed` comes from these numbers by all of `data` (`tools/weights/mixed_start.py`).

    MemoryError where there is none, or the head is none.
    """
    given, numbers = data.copy(), start.copy()
    if not _library().secateur_learn_mixed(
        told.ctypes.data, given.ctypes.data, len(given), numbers.ctypes.data
    ):
        raise MemoryError(f"no memory to learn from {len(given)} weights")
    return numbers


def decode_mixed(payload: bytes, count: int) -> Bytes | None:
    """The `count` bytes of a payload; None where it is damaged."""
    found = np.zeros(count, np.uint8)
    sound = _library().secateur_decode_mixed(payload, len(payload), found.ctypes.data, count)
    return found if sound else None


def decode_stream(stream: bytes, count: int, table: bytes = b"") -> Bytes | None:
    """The `count` bytes of a stream of any codec, by the runtime's decoders; None where it is damaged."""
    found = np.zeros(count, np.uint8)
    sound = _library().secateur_decode_stream(
        stream, len(stream), table, len(table), found.ctypes.data, count
    )
    return found if sound else None


@cache
def _library() -> ctypes.CDLL:
    with temporary_folder("secateur-") as folder:
        for name in (*RUNTIME_FILES, *ENCODER_SOURCES):
            (folder / name).write_bytes(runtime_folder().joinpath(name).read_bytes())
        path = folder / "codecs.so"
        path.write_bytes(_compiled(folder))
        library = ctypes.CDLL(str(path))
    size, memory = ctypes.c_uint64, ctypes.c_void_p
    library.secateur_encode_mixed.restype = ctypes.c_int64
    library.secateur_encode_mixed.argtypes = [memory, memory, size, size, memory, size]
    library.secateur_learn_mixed.restype = ctypes.c_int
    library.secateur_learn_mixed.argtypes = [memory, memory, size, memory]
    library.secateur_decode_mixed.restype = library.secateur_decode_stream.restype = ctypes.c_int
    library.secateur_decode_mixed.argtypes = [ctypes.c_char_p, size, memory, size]
    library.secateur_decode_stream.argtypes = [ctypes.c_char_p, size, ctypes.c_char_p, size, memory, size]
    return library


def _compiled(folder: Path) -> bytes:
    """The library made of the sources in a folder, or the same from the cache."""
    digest = hashlib.sha256(repr((_TRIPLE, _FLAGS, version("ziglang"))).encode())
    for name in sorted({*RUNTIME_FILES, *ENCODER_SOURCES}):
        digest.update((folder / name).read_bytes())
    kept = cache_folder() / "codecs" / f"{digest.hexdigest()[:32]}.so"
    known = read_entry(kept)
    if known is None:
        tools = Toolchain(_TRIPLE, cache_folder())
        objects = [tools.compile(folder, name, f"{Path(name).stem}.o") for name in ENCODER_SOURCES]
        known = tools.link(folder, _FLAGS, objects, "linked.so").read_bytes()
        write_entry(kept, known)
    return known
