"""Kernels captured and replayed: what two versions of the compiler make of the same networks.

    python -m secateur.tools.checks.replay capture before
    ...                                          # change the compiler
    python -m secateur.tools.checks.replay capture after
    python -m secateur.tools.checks.replay compare before after

A change that only rearranges leaves every kernel's LLVM IR and every lowered graph as they were; symbols
carry hashes of specifications and are left out of the comparison.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import secateur
from secateur import Int8, Watch
from secateur.tools.bench import models

SEPARATOR = "\n; ---- kernel ----\n"
_HASH = re.compile(r"_[0-9a-f]{12}(?=_kernel\b|\b)")


@dataclass(frozen=True)
class Case:
    """A network of the benchmark, compiled for a target in float32 or in int8."""

    network: str
    target: str
    int8: bool = False

    @property
    def name(self) -> str:
        return f"{self.network}-{self.target}-{'int8' if self.int8 else 'fp32'}"


CASES = (
    Case("resnet20", "x86-64-v2", int8=True),
    Case("resnet20", "x86-64-v3", int8=True),
    Case("resnet20", "x86-64-v4-vnni", int8=True),
    Case("resnet20", "armv7-a+neon", int8=True),
    Case("resnet20", "rpi4", int8=True),
    Case("resnet20", "rpi4"),
    Case("mobilenet-v2", "x86-64-v4-vnni", int8=True),
    Case("mobilenet-v2", "rpi5", int8=True),
    Case("mobilenet-v2", "x86-64-v3"),
    Case("squeezenet1.1", "x86-64-v3", int8=True),
    Case("squeezenet1.1", "armv8.6-a+i8mm"),
    Case("squeezenet1.1", "rpi2"),
    Case("resnet18", "x86-64-v4-vnni", int8=True),
    Case("resnet18", "x86-64-v3"),
    Case("googlenet", "x86-64-v4", int8=True),
)

app = typer.Typer(add_completion=False, help=(__doc__ or "").splitlines()[0])


@app.command("capture")
def capture_all(folder: Annotated[Path, typer.Argument(help="Where the texts go; made anew.")]) -> None:
    """Compile every case and keep its kernels' LLVM IR and its lowered graph."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            print(case.name, flush=True)
            capture(case, models.save(case.network, Path(scratch)), folder)


def capture(case: Case, model: Path, folder: Path) -> None:
    """Writes `NAME.ll`, all kernels of a case in a stated order, and `NAME.sir`, its lowered graph."""
    with tempfile.TemporaryDirectory() as scratch:
        dumps = Path(scratch) / "dumps"
        quantize = Int8("random:2", layers="all") if case.int8 else None
        artifact = secateur.compile(
            model, Path(scratch) / "model.so", case.target, quantize=quantize, watch=Watch(dump_ir=dumps)
        )
        kernels = sorted(plain(path.read_text()) for path in (dumps / "kernels").glob("*.ll"))
    (folder / f"{case.name}.ll").write_text(SEPARATOR.join(kernels))
    (folder / f"{case.name}.sir").write_text(plain(str(artifact.manifest["ir"])))


def plain(text: str) -> str:
    """The text without the hashes in kernels' symbols."""
    return _HASH.sub("", text)


@app.command("compare")
def compare_all(before: Path, after: Path) -> None:
    """Say what differs between two captures; exit code 1 where anything does."""
    found = [line for case in CASES for line in differences(case, before, after)]
    print("\n".join(found) or f"{len(CASES)} cases are the same")
    raise typer.Exit(int(bool(found)))


def differences(case: Case, before: Path, after: Path) -> list[str]:
    """A line for kernels and one for the graph, where they differ."""
    one, other = (set((f / f"{case.name}.ll").read_text().split(SEPARATOR)) for f in (before, after))
    found = []
    if one != other:
        found.append(
            f"{case.name}: {len(one - other)} of {len(one)} kernels are gone, {len(other - one)} new"
        )
    if len({(f / f"{case.name}.sir").read_text() for f in (before, after)}) > 1:
        found.append(f"{case.name}: the lowered graph differs")
    return found


if __name__ == "__main__":
    app()
