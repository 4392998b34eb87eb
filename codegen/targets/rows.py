"""Targets: what the compiler must know of a processor, as rows of data.

A board's name on the command line is a row of `TARGETS`; nothing else in the
compiler mentions a board. An instruction set gives the vector length and the
number of vector registers, from which every kernel derives its register tile.

`host` is the best row that this machine can run. The environment's
`SECATEUR_HOST` names another that it can run too: then that is the host, and
whatever asks what this machine can do sees no more than that row has.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from secateur.ir.errors import SecateurError

from . import processor

HOST = "SECATEUR_HOST"
"""The variable of the environment that names the host's row."""


@dataclass(frozen=True)
class Isa:
    """A vector instruction set as the kernels see it."""

    name: str
    vector_bytes: int
    vector_registers: int

    def __post_init__(self) -> None:
        if self.vector_bytes & (self.vector_bytes - 1) or self.vector_registers < 8:
            raise ValueError(f"{self.name}: vectors are a power of two bytes, registers at least 8")

    @property
    def lanes(self) -> int:
        """float32 lanes of one vector; also the channel block of blocked layouts."""
        return self.vector_bytes // 4


SSE = Isa("sse", 16, 16)
AVX512 = Isa("avx512", 64, 32)
AVX2 = Isa("avx2", 32, 16)
NEON64 = Isa("neon64", 16, 32)
NEON32 = Isa("neon32", 16, 16)


@dataclass(frozen=True)
class Target:
    """One row: a name, what LLVM and the linker call it, and what its pipeline can do.

    `features` are LLVM feature names: code is made for the architecture and these, and the artifact checks
    them at load. `cpu` is the core that it is tuned for, whose other features are not used.
    `clock_ghz`, `fma_per_cycle` (vector FMAs), the cache sizes (bytes),
    `dram_gbps` and what a third-level cache gives (0: there is none) feed the
    analytic cost model.
    """

    name: str
    triple: str
    zig_triple: str
    cpu: str
    isa: Isa
    features: tuple[str, ...] = ()
    clock_ghz: float = 1.5
    fma_per_cycle: float = 1.0
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10
    dram_gbps: float = 4.0
    l3_bytes: int = 0
    l3_gbps: float = 0.0

    @property
    def lanes(self) -> int:
        return self.isa.lanes

    def gbps(self, moved: float) -> float:
        """GB/s at which `moved` bytes stream that were made just before: from the caches where they fit."""
        if moved <= self.l2_bytes:
            return max(self.dram_gbps, self.clock_ghz * self.isa.vector_bytes / 2)
        return self.far_gbps(moved)

    def far_gbps(self, moved: float) -> float:
        """GB/s of `moved` bytes from beyond the second-level cache."""
        return self.l3_gbps if self.l3_bytes and moved <= self.l3_bytes else self.dram_gbps

    @property
    def architecture(self) -> str:
        """`x86_64`, `aarch64` or `armv7`."""
        return self.triple.split("-")[0]

    @property
    def baseline(self) -> str:
        """LLVM's name of a core that has what the architecture requires, and no more."""
        return "x86-64" if self.architecture == "x86_64" else "generic"


_V2 = ("sse4.2", "ssse3", "popcnt")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


def _x86(name: str, cpu: str, isa: Isa, features: tuple[str, ...], **pipeline: float | int) -> Target:
    wide: dict[str, Any] = {
        "clock_ghz": 2.5,
        "fma_per_cycle": 2.0,
        "l2_bytes": 1 << 20,
        "dram_gbps": 11.0,
        **pipeline,
    }
    return Target(name, "x86_64-unknown-linux-gnu", "x86_64-linux-gnu.2.17", cpu, isa, features, **wide)


def _aarch64(name: str, cpu: str, features: tuple[str, ...] = (), **pipeline: float | int) -> Target:
    row: dict[str, Any] = pipeline
    return Target(name, "aarch64-unknown-linux-gnu", "aarch64-linux-gnu.2.17", cpu, NEON64, features, **row)


def _armv7(name: str, cpu: str, **pipeline: float | int) -> Target:
    row: dict[str, Any] = pipeline
    return Target(
        name,
        "armv7-unknown-linux-gnueabihf",
        "arm-linux-gnueabihf.2.17",
        cpu,
        NEON32,
        ("neon", "vfp4", "hwdiv", "hwdiv-arm"),
        **row,
    )


_WIDE_CORE: dict[str, Any] = {"fma_per_cycle": 2.0, "l1_bytes": 64 << 10}

_GENERIC = (
    _x86("x86-64-v2", "x86-64-v2", SSE, _V2, fma_per_cycle=0.5),
    _x86("x86-64-v3", "haswell", AVX2, _V3, l3_bytes=32 << 20, l3_gbps=30.0),
    _x86("x86-64-v4", "skylake-avx512", AVX512, _V4),
    _x86("x86-64-v4-vnni", "cascadelake", AVX512, (*_V4, "avx512vnni")),
    _aarch64("armv8-a", "generic"),
    _aarch64("armv8.2-a+dotprod", "cortex-a76", ("dotprod",), fma_per_cycle=2.0),
    _aarch64("armv8.6-a+i8mm", "cortex-a710", ("dotprod", "i8mm"), fma_per_cycle=2.0),
    _armv7("armv7-a+neon", "cortex-a7", clock_ghz=1.0, fma_per_cycle=0.5),
)  # fmt: skip

_BOARDS = (
    _aarch64("rpi3", "cortex-a53", clock_ghz=1.2, fma_per_cycle=0.5, dram_gbps=2.0),
    _aarch64("rpi4", "cortex-a72", clock_ghz=1.8, l2_bytes=1 << 20),
    _aarch64("rpi5", "cortex-a76", ("dotprod",), clock_ghz=2.4, dram_gbps=10.0, **_WIDE_CORE),
    _aarch64("jetson-nano-cpu", "cortex-a57", clock_ghz=1.43, l2_bytes=2 << 20, dram_gbps=10.0),
    _aarch64("jetson-tx2-cpu", "cortex-a57", clock_ghz=2.0, l2_bytes=2 << 20, dram_gbps=15.0),
    _aarch64("jetson-xavier-cpu", "carmel", clock_ghz=2.2, l2_bytes=2 << 20, dram_gbps=30.0, **_WIDE_CORE),
    _aarch64("jetson-orin-cpu", "cortex-a78ae", ("dotprod",), clock_ghz=2.0, dram_gbps=40.0, **_WIDE_CORE),
    _armv7("rpi2", "cortex-a7", clock_ghz=0.9, fma_per_cycle=0.5, dram_gbps=1.5),
    _armv7("cortex-a15", "cortex-a15", clock_ghz=1.9, l2_bytes=1 << 20),
)  # fmt: skip

TARGETS: dict[str, Target] = {row.name: row for row in (*_GENERIC, *_BOARDS)}


def host() -> Target:
    """The best row that this machine can run, or the one that SECATEUR_HOST names, with the name `host`.

    A board whose core this machine has goes before a row for any core. SecateurError where no row fits, or
    the one that is named is not known or cannot run here.
    """
    return replace(_masked() or _best(runnable()), name="host")


def runnable() -> list[Target]:
    """The rows whose code this machine runs, boards last."""
    return [row for row in TARGETS.values() if runs_here(row)]


def cpu_flags() -> frozenset[str]:
    """LLVM's feature names of this machine; where SECATEUR_HOST names its row, those of the row alone."""
    masked = _masked()
    return processor.features() if masked is None else frozenset(masked.features)


def _best(fitting: Sequence[Target]) -> Target:
    if not fitting:
        raise SecateurError(
            f"no target fits this machine: {_misfit()}; name one to compile for with --target"
        )
    most = max(len(t.features) for t in fitting)
    found = [t for t in fitting if len(t.features) == most]
    return next((t for t in found if t in _BOARDS and t.cpu == processor.core()), found[0])


def _misfit() -> str:
    """Why no row fits."""
    machine = processor.architecture()
    least = next((t for t in _GENERIC if t.architecture == machine), None)
    if least is None:
        return f"it is {machine}, known are {', '.join(dict.fromkeys(t.architecture for t in _GENERIC))}"
    return f"this {machine} processor has no {', '.join(sorted(set(least.features) - processor.features()))}"


def _masked() -> Target | None:
    """The row that SECATEUR_HOST names; SecateurError where this machine cannot run it, or there is none."""
    name = os.environ.get(HOST)
    if not name:
        return None
    if name not in TARGETS:
        raise SecateurError(f"{HOST}: {_unknown(name)}{', '.join(TARGETS)}")
    row, machine = TARGETS[name], processor.architecture()
    if row.architecture != machine:
        raise SecateurError(f"{HOST}={name}: code for {row.architecture} does not run on this {machine}")
    if missing := sorted(set(row.features) - processor.features()):
        raise SecateurError(f"{HOST}={name}: this processor has no {', '.join(missing)}")
    return row


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, TARGETS, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown target '{name}'; {hint}known: "


def runs_here(target: Target) -> bool:
    """Whether this machine runs code for `target`: its architecture, and every feature that the row names."""
    return target.architecture == processor.architecture() and set(target.features) <= cpu_flags()


def find(name: str) -> Target:
    """The target of that name; SecateurError listing the known ones where there is none."""
    if name == "host":
        return host()
    if name not in TARGETS:
        raise SecateurError(f"{_unknown(name)}host, {', '.join(TARGETS)}")
    return TARGETS[name]
