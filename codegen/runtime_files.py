"""The C runtime's files, as the package installs them."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

DECODER_SOURCES = (
    "decode.c", "decode_prefix.c", "decode_rans.c", "decode_planes.c", "decode_avx2.c", "decode_avx512.c",
    "decode_neon.c", "decode_mixed.c", "mixed.c", "mixed_head.c", "mixed_order.c",
    "mixed_start.c", "decode_nibbles.c", "decode_zeros.c",
)  # fmt: skip
_ANY_SOURCES = ("cpu.c", "model.c", "options.c", "transform.c", "weights.c", *DECODER_SOURCES)
RUNTIME_SOURCES = (*_ANY_SOURCES, "pool.c", "state.c")
DEVICE_SOURCES = (*_ANY_SOURCES, "cuda.c", "device.c", "device_run.c")
BENCH_SOURCES = ("bench.c", "bench_data.c")
_HEADERS = (
    "secateur.h",
    "internal.h",
    "decode.h",
    "mixed.h",
    "mixed_learnt.h",
    "transform.h",
    "threads.h",
    "cuda.h",
    "device.h",
    "bench.h",
)
ENCODER_SOURCES = ("encode_mixed.c", *DECODER_SOURCES, "cpu.c")
"""Of the compiler's own library of codecs (`weights/native.py`)."""
RUNTIME_FILES = (*_HEADERS, *sorted({*RUNTIME_SOURCES, *DEVICE_SOURCES}), *BENCH_SOURCES)


def runtime_folder() -> Traversable:
    """Where the C runtime's sources are installed."""
    return files("secateur.runtime")


@cache
def header_constant(header: str, name: str) -> int:
    """The value of a number that one of the runtime's headers defines; KeyError where it does not."""
    text = runtime_folder().joinpath(header).read_text(encoding="utf-8")
    found = re.search(rf"#define {name} (\d+)", text)
    if found is None:
        raise KeyError(name)
    return int(found[1])
