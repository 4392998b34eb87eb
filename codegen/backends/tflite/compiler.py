"""Google's `edgetpu_compiler`, where it is installed: run on a file, and its log read.

It is closed, for x86-64 Debian, and may not be passed on: it is found by $EDGETPU_COMPILER or in PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from secateur.ir.errors import SecateurError

VARIABLE, PROGRAM = "EDGETPU_COMPILER", "edgetpu_compiler"
SECONDS = 600
MAPPED = "Mapped to Edge TPU"


@dataclass(frozen=True)
class Status:
    """What became of so many operators of a kind; the words are the compiler's."""

    operator: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        return self.status == MAPPED


@dataclass(frozen=True)
class Log:
    """What the compiler says: its version, where operators run, and sizes by name, as it writes them."""

    version: str
    statuses: tuple[Status, ...]
    sizes: Mapping[str, str]

    @property
    def on_chip(self) -> int:
        return sum(s.count for s in self.statuses if s.mapped)

    @property
    def on_cpu(self) -> int:
        return sum(s.count for s in self.statuses if not s.mapped)


SIZES = {
    "cached": "On-chip memory used for caching model parameters",
    "left": "On-chip memory remaining for caching model parameters",
    "streamed": "Off-chip memory used for streaming uncached model parameters",
    "subgraphs": "Number of Edge TPU subgraphs",
}
"""Lines of the log that say how large something is, by our name."""


def find_compiler() -> Path | None:
    """The program that $EDGETPU_COMPILER names, else the one in PATH; SecateurError for a name of none."""
    named = os.environ.get(VARIABLE)
    found = shutil.which(named or PROGRAM)
    if named and found is None:
        raise SecateurError(f"${VARIABLE} is {named}, which is no program")
    return None if found is None else Path(found)


def run_compiler(program: Path, path: Path, folder: Path) -> Log:
    """Compiles a file into `folder`; SecateurError with the compiler's own words where it fails."""
    command = [str(program), "-s", "-o", str(folder), str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise SecateurError(f"{program} takes more than {SECONDS} s") from None
    except OSError as error:
        raise SecateurError(f"{program} does not start: {error.strerror}") from None
    text = done.stdout + done.stderr
    log = read_log(text)
    if done.returncode or not log.statuses:
        words = [line for line in text.strip().splitlines() if line.strip()]
        raise SecateurError(f"{program} refuses {path}: {words[-1] if words else 'it says nothing'}")
    return log


def read_log(text: str) -> Log:
    """The log of a run with `-s`; what is missing in it is missing in the result."""
    version = re.search(r"Edge TPU Compiler version (\S+)", text)
    return Log(version.group(1) if version else "", tuple(_statuses(text)), _sizes(text))


def _sizes(text: str) -> dict[str, str]:
    found = {name: re.search(rf"^{line}: (.+)$", text, re.MULTILINE) for name, line in SIZES.items()}
    return {name: match.group(1).strip() for name, match in found.items() if match}


def _statuses(text: str) -> list[Status]:
    """The rows of the table below its headings, until a line that is none."""
    _, heading, rest = text.partition("\nOperator")
    found: list[Status] = []
    for line in rest.splitlines()[1:] if heading else ():
        row = re.fullmatch(r"([A-Z0-9_]+(?: \S+)?)\s{2,}(\d+)\s{2,}(\S.*?)\s*", line)
        if row is None and line.strip():
            break
        if row is not None:
            found.append(Status(row.group(1), int(row.group(2)), row.group(3)))
    return found
