"""Targets as rows of data: a name on the command line is a row of `TARGETS`.

Nothing else in the compiler mentions a board.
"""

from __future__ import annotations

from typing import Any

from secateur.ir.errors import SecateurError

from .aliases import meant_by
from .gpus import JETSONS, PCS
from .isa import AVX2, AVX512, AVX512_AMX, AVX512_VNNI, NEON32, SSE, Isa, neon64
from .myriad import MYRIAD
from .target import Cpu, Rates, Target
from .tflite import TFLITE

_V2 = ("sse4.2", "ssse3", "popcnt")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


def _x86(name: str, core: str, isa: Isa, features: tuple[str, ...], **rates: float | int) -> Target:
    wide: dict[str, Any] = {
        "clock_ghz": 2.5,
        "fma_per_cycle": 2.0,
        "l2_bytes": 1 << 20,
        "dram_gbps": 11.0,
        **rates,
    }
    return Target(
        name, Cpu("x86_64-unknown-linux-gnu", "x86_64-linux-gnu.2.17", core, isa, features), Rates(**wide)
    )


def _aarch64(
    name: str, core: str, features: tuple[str, ...] = (), in_order: bool = False, **rates: float | int
) -> Target:
    row: dict[str, Any] = rates
    isa = neon64(features)
    triples = "aarch64-unknown-linux-gnu", "aarch64-linux-gnu.2.17"
    return Target(name, Cpu(*triples, core, isa, features, in_order), Rates(**row))


def _armv7(name: str, core: str, **rates: float | int) -> Target:
    row: dict[str, Any] = rates
    features = ("neon", "vfp4", "hwdiv", "hwdiv-arm")
    return Target(
        name,
        Cpu("armv7-unknown-linux-gnueabihf", "arm-linux-gnueabihf.2.17", core, NEON32, features),
        Rates(**row),
    )


# Multiplies 64 bits at a time, and starts one vector operation in two cycles.
_NARROW_CORE: dict[str, Any] = {"fma_per_cycle": 0.5, "dot_per_cycle": 0.5}
_WIDE_CORE: dict[str, Any] = {"fma_per_cycle": 2.0, "l1_bytes": 64 << 10}
_CARMEL: dict[str, Any] = {**_WIDE_CORE, "l2_bytes": 2 << 20}
_DOT_HALF = ("dotprod", "fullfp16")

GENERIC = (
    _x86("x86-64-v2", "x86-64-v2", SSE, _V2, fma_per_cycle=0.5),
    _x86("x86-64-v3", "haswell", AVX2, _V3, l3_bytes=32 << 20, l3_gbps=30.0),
    _x86("x86-64-v4", "skylake-avx512", AVX512, _V4),
    _x86("x86-64-v4-vnni", "cascadelake", AVX512_VNNI, (*_V4, "avx512vnni")),
    _x86("x86-64-v4-amx", "sapphirerapids", AVX512_AMX, (*_V4, "avx512vnni", "amx-tile", "amx-int8"),
         l1_bytes=48 << 10, l2_bytes=2 << 20),
    _aarch64("armv8-a", "generic"),
    _aarch64("armv8.2-a+dotprod", "cortex-a76", ("dotprod",), fma_per_cycle=2.0),
    _aarch64("armv8.2-a+dotprod+fp16", "cortex-a76", _DOT_HALF, fma_per_cycle=2.0),
    _aarch64("armv8.6-a+i8mm", "cortex-a710", ("dotprod", "i8mm"), fma_per_cycle=2.0),
    _armv7("armv7-a+neon", "cortex-a7", clock_ghz=1.0, **_NARROW_CORE),
)  # fmt: skip

BOARDS = (
    _aarch64("rpi3", "cortex-a53", in_order=True, clock_ghz=1.2, dram_gbps=2.0, **_NARROW_CORE),
    _aarch64("rpi4", "cortex-a72", clock_ghz=1.8, l2_bytes=1 << 20),
    _aarch64("rpi5", "cortex-a76", _DOT_HALF, clock_ghz=2.4, dram_gbps=10.0, **_WIDE_CORE),
    _aarch64("jetson-nano-cpu", "cortex-a57", clock_ghz=1.43, l2_bytes=2 << 20, dram_gbps=10.0),
    _aarch64("jetson-tx2-cpu", "cortex-a57", clock_ghz=2.0, l2_bytes=2 << 20, dram_gbps=15.0),
    _aarch64("jetson-xavier-cpu", "carmel", ("fullfp16",), clock_ghz=2.2, dram_gbps=30.0, **_CARMEL),
    _aarch64("jetson-orin-cpu", "cortex-a78ae", _DOT_HALF, clock_ghz=2.0, dram_gbps=40.0, **_WIDE_CORE),
    _armv7("rpi2", "cortex-a7", clock_ghz=0.9, dram_gbps=1.5, card_gbps=0.025, **_NARROW_CORE),
    _armv7("cortex-a15", "cortex-a15", clock_ghz=1.9, l2_bytes=1 << 20),
)  # fmt: skip

PROCESSORS: dict[str, Target] = {row.name: row for row in (*GENERIC, *BOARDS)}
GPUS: dict[str, Target] = {row.name: row for row in (*JETSONS, *PCS)}
TARGETS: dict[str, Target] = PROCESSORS | GPUS | {row.name: row for row in (*TFLITE, *MYRIAD)}


def named(name: str, *others: str) -> Target:
    """The row of that name; SecateurError with the one that is meant, and the known ones, `others` first."""
    if name not in TARGETS:
        known = (*others, *TARGETS)
        raise SecateurError(f"unknown target '{name}'{meant_by(name, known).ending(known)}")
    return TARGETS[name]
