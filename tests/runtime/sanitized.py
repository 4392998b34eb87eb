"""The C runtime under gcc's sanitizers, compiled once for every test that links it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.kept import kept

RUNTIME = Path(__file__).parents[2] / "runtime"
MEMORY = "address,undefined"
WARNINGS = ("-Wall", "-Wextra", "-Werror")


def gcc(cross: str = "") -> str:
    """Debian's compiler for the host, or that of the name that it has `cross` in front of."""
    name, package = f"{cross}gcc", f"gcc-{cross}".removesuffix("-")
    return shutil.which(name) or pytest.skip(f"{name} is not installed: apt-get install {package}")


def sanitizing(sanitizer: str = MEMORY) -> tuple[str, ...]:
    """Flags of what is compiled and linked beside the objects."""
    return (f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all")


def sanitized(
    names: Iterable[str], folder: Path, sanitizer: str = MEMORY, compiler: str | None = None
) -> list[str]:
    """Objects of these sources of the runtime, written into `folder`; any warning fails."""
    chosen = compiler or gcc()
    return [_object(RUNTIME / name, folder / f"{name}.o", sanitizer, chosen) for name in names]


def _object(source: Path, output: Path, sanitizer: str, compiler: str) -> str:
    flags = ("-std=c11", "-g", "-O1", "-fPIC", "-ffp-contract=off", *WARNINGS, *sanitizing(sanitizer))
    command = [compiler, *flags, f"-I{RUNTIME}", "-c", str(source), "-o", str(output)]

    def compiled() -> bytes:
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return output.read_bytes()

    output.write_bytes(kept(f"{source.stem}-{sanitizer}-{_digest(compiler, flags, source)}", compiled))
    return str(output)


def _digest(compiler: str, flags: Iterable[str], source: Path) -> str:
    """Of all that an object depends on: the compiler, its flags, the source and every header."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    found = hashlib.sha256(version + " ".join(flags).encode() + source.read_bytes())
    for header in sorted(RUNTIME.glob("*.h")):
        found.update(header.read_bytes())
    return found.hexdigest()[:16]
