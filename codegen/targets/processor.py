"""The processor of this machine: its architecture as triples name it, its features and core as LLVM does.

On ARM the features are those that Linux lists too: LLVM's list leaves some out.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import struct
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

_ARCHITECTURES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_NARROW = {"aarch64": "armv7", "x86_64": "x86"}  # what 32-bit programs see under a 64-bit kernel
_AARCH64: dict[str, tuple[str, ...]] = {
    "asimd": ("neon",), "asimddp": ("dotprod",), "asimdhp": ("fullfp16",), "i8mm": ("i8mm",),
    "bf16": ("bf16",), "sve": ("sve",), "sve2": ("sve2",), "asimdrdm": ("rdm",), "atomics": ("lse",),
}  # fmt: skip
_ARMV7: dict[str, tuple[str, ...]] = {
    "neon": ("neon",), "vfpv4": ("vfp4",), "idiva": ("hwdiv-arm",), "idivt": ("hwdiv",),
    "asimd": ("neon", "vfp4", "hwdiv-arm", "hwdiv"),
}  # fmt: skip
_LINUX = {"aarch64": _AARCH64, "armv7": _ARMV7}
"""LLVM's names of what Linux calls ARM's features; a 64-bit kernel lists `asimd` to 32-bit programs too."""


def architecture() -> str:
    """`x86_64`, `aarch64` or `armv7`, of this process; another machine's own name."""
    machine = platform.machine()
    known = "armv7" if machine.startswith(("armv7", "armv8")) else _ARCHITECTURES.get(machine, machine)
    return known if _pointer_bytes() == 8 or known == "armv7" else _NARROW.get(known, known)


def _pointer_bytes() -> int:
    return struct.calcsize("P")


def core() -> str:
    """LLVM's name of the core, `generic` where it knows none."""
    import llvmlite.binding as llvm

    return str(llvm.get_host_cpu_name())


def features() -> frozenset[str]:
    """LLVM's names of the features of this machine."""
    return frozenset(_by_llvm() | _by_linux(architecture()))


def _by_llvm() -> set[str]:
    import llvmlite.binding as llvm

    found = {name for name, present in llvm.get_host_cpu_features().items() if present}
    tiles = {name for name in found if name.startswith("amx-")}
    return found if not tiles or _tiles_granted() else found - tiles


@functools.cache
def _tiles_granted() -> bool:
    """Whether Linux lets this process use x86's registers of tiles: it must have been asked."""
    arch_prctl, request, tile_data = 158, 0x1023, 18
    return bool(ctypes.CDLL(None).syscall(arch_prctl, request, tile_data) == 0)


def _by_linux(architecture: str) -> set[str]:
    known = _LINUX.get(architecture, {})
    return {name for word in _listed() for name in known.get(word, ())} if known else set()


def _listed() -> set[str]:
    """Features that every core lists: some boards join cores that differ."""
    try:
        lines = CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    found = [set(line.partition(":")[2].split()) for line in lines if line.startswith("Features")]
    return set.intersection(*found) if found else set()
