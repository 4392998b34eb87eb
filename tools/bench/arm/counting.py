"""Executed AArch64 instructions by class, counted under qemu-user by a plugin of our own (`count.c`).

Those of ARMv7 are counted in all, as of the class `int`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from secateur.ir.errors import SecateurError

CLASSES = (
    "fma32", "fma16", "dot", "mmla", "imlal", "vload", "vstore", "vother", "gld/st", "branch", "int"
)  # fmt: skip
"""In the plugin's order. `imlal`: products of integers that are summed or widened, and `sadalp`."""

EMULATOR, NARROW_EMULATOR = "qemu-aarch64", "qemu-arm"
_SOURCE = Path(__file__).with_name("count.c")
_FLAGS = ("-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden")


class CountError(SecateurError):
    """Nothing could be counted; the message says what is missing or what failed."""


@dataclass(frozen=True)
class Counts:
    """Instructions of each class, in the order of `CLASSES`."""

    by_class: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.by_class)

    @property
    def millions(self) -> float:
        return self.total / 1e6

    def of(self, name: str) -> int:
        return self.by_class[CLASSES.index(name)]

    def __sub__(self, other: Counts) -> Counts:
        return Counts(tuple(a - b for a, b in zip(self.by_class, other.by_class, strict=True)))


def snapshots(program: Sequence[str | Path], cpu: str, emulator: str = EMULATOR) -> tuple[list[Counts], str]:
    """Instructions executed so far at each request for the time and at the end, and what `program` printed.

    `program` is a static executable for the emulator, with its arguments, `cpu` one that it knows. CountError
    where the emulator or gcc is missing, or the program fails.
    """
    lines, told = watched(_SOURCE, program, cpu, emulator)
    return [_counts(line) for line in lines], told


def watched(
    source: Path, program: Sequence[str | Path], cpu: str, emulator: str = EMULATOR
) -> tuple[list[str], str]:
    """The lines of a plugin that is compiled from `source`, and what `program` printed.

    CountError as `snapshots` raises it.
    """
    with tempfile.TemporaryDirectory(prefix="secateur-") as name:
        folder = Path(name)
        plugin, out = _plugin(source, folder, emulator), folder / "counts"
        command = [_emulator(emulator), "-cpu", cpu, "-plugin", f"{plugin},out={out}", *map(str, program)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not out.exists():
            raise CountError(
                f"{emulator} -cpu {cpu}: {done.stderr.strip() or f'exit code {done.returncode}'}"
            )
        return out.read_text().splitlines(), done.stdout


def _counts(line: str) -> Counts:
    counts = tuple(map(int, line.split()))
    if len(counts) != len(CLASSES):
        raise CountError(f"the plugin printed {len(counts)} counts, {len(CLASSES)} are known: {line!r}")
    return Counts(counts)


def _plugin(source: Path, folder: Path, emulator: str) -> Path:
    """The plugin, compiled into `folder` for the emulator at hand."""
    compiler, plugin = _found("gcc", "gcc libc6-dev"), folder / "plugin.so"
    command = [compiler, *_FLAGS, f"-DQEMU_PLUGIN_API={_interface(emulator)}", str(source), "-o", str(plugin)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CountError(f"gcc does not compile {source.name}: {done.stderr.strip()}")
    return plugin


@cache
def _interface(emulator: str) -> int:
    """The version of the plugin interface: QEMU refuses a plugin that was made for another."""
    told = subprocess.run([_emulator(emulator), "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", told)
    if found is None:
        raise CountError(f"{emulator} --version says no version: {told.strip()!r}")
    version = (int(found[1]), int(found[2]))
    return 1 if version < (9, 0) else 2 if version < (9, 1) else 3


def _emulator(name: str) -> str:
    return _found(name, "qemu-user")


def _found(program: str, packages: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise CountError(f"{program} is not installed; on Debian: apt-get install {packages}")
    return path
