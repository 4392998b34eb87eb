"""How long each primitive's extremes take to compile, and how much code they become.

    python -m secateur.tools.bench.compile --target x86-64-v4-vnni

Times are of the processor, so that a busy machine changes them little.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from secateur.codegen.backends.cpu.objects import build_object
from secateur.codegen.targets.find import find
from secateur.codegen.targets.target import Target

from .extremes import EXTREMES, MOST_BYTES, kernels


@dataclass(frozen=True)
class Row:
    """One kernel: bytes of its object file, processor seconds of planning it and of compiling it."""

    extreme: str
    primitive: str
    bytes: int
    planning: float
    compiling: float


def measure(name: str, target: Target) -> Iterator[Row]:
    """Every kernel of an extreme."""
    begun = time.process_time()
    for primitive, kernel in kernels(name, target):
        planned = time.process_time()
        size = len(build_object(kernel, "kernel", target).code)
        done = time.process_time()
        yield Row(name, primitive, size, planned - begun, done - planned)
        begun = done


def as_table(rows: list[Row]) -> Table:
    """The costliest first; what exceeds the bound is marked."""
    table = Table("operator", "primitive", "KiB", "planned, s", "compiled, s", box=None)
    for row in sorted(rows, key=lambda row: -row.compiling):
        mark = " !" if row.bytes > MOST_BYTES else ""
        size = f"{row.bytes / 1024:.1f}{mark}"
        table.add_row(row.extreme, row.primitive, size, f"{row.planning:.2f}", f"{row.compiling:.2f}")
    return table


def main(
    target: Annotated[str, typer.Option(help="The processor to compile for.")] = "host",
    only: Annotated[str, typer.Option(help="Operators whose names contain this.")] = "",
) -> None:
    """Compile time and code size of the operators that stretch each primitive."""
    import_module("secateur.codegen.tvm_lowering")  # which takes seconds that are no kernel's
    row = find(target)
    rows = [found for name in EXTREMES if only in name for found in measure(name, row)]
    Console().print(as_table(rows))
    raise typer.Exit(int(any(found.bytes > MOST_BYTES for found in rows)))


if __name__ == "__main__":
    typer.run(main)
