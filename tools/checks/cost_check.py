"""Holds the analytic cost model against the code that kernels become and against llvm-mca.

For each target and layer: the hottest loop of the kernel's assembly, what a step of it executes, the cycles
that the model assumes for a step, and those that llvm-mca simulates for the same instructions.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from secateur.codegen.backends.cpu.objects import assembly_of, build_object
from secateur.codegen.targets.find import find
from secateur.codegen.targets.target import Target
from secateur.ir.errors import SecateurError

from .cost_layers import LAYERS, Sample
from .machine_loops import Loop, hottest, innermost

DEFAULT = ("rpi3", "rpi4", "rpi5", "jetson-orin-cpu", "cortex-a15", "x86-64-v3", "x86-64-v4-vnni")
_ITERATIONS = 100

# LLVM schedules the Cortex-A76 and A78 as an A57, which multiplies and loads half as much a cycle, and the
# A15 as an A9, in order and with three cycles for a load to all lanes. Others instead, each since a version:
# the Neoverse N1 is an A76; the TSV110 is as wide, but has one pipeline for bitwise operations, not two.
_A76 = ((17, "neoverse-n1"), (0, "tsv110"))
_STAND_INS = {
    "cortex-a76": _A76,
    "cortex-a78ae": _A76,
    "cortex-a710": ((16, "cortex-a710"), (0, "tsv110")),
    "cortex-a15": ((0, "swift"),),
}


@dataclass(frozen=True)
class Row:
    """One layer on one target; counts and cycles are those of one step of the register tile."""

    target: str
    layer: str
    tile: str
    multiplies: int
    loads: float
    others: float
    spills: int  # stores to the stack in the whole loop
    model: float
    simulated: float | None

    @property
    def ratio(self) -> float | None:
        """What the model assumes by what llvm-mca simulates."""
        return self.model / self.simulated if self.simulated else None


def loops_of(sample: Sample, target: Target) -> list[Loop]:
    """The innermost loops of the kernel's code."""
    kernel = build_object(sample.kernel, "kernel", target)
    return innermost(assembly_of(kernel, target), target.triple.split("-")[0])


def main_loop(sample: Sample, loops: Sequence[Loop]) -> Loop:
    """The hottest that multiplies whole register tiles; SecateurError where none does."""
    if sample.steps:
        loops = [loop for loop in loops if loop.multiplies == sample.steps * sample.tile]
    return hottest(loops, sample.tile)


def simulated_cycles(loop: Loop, target: Target) -> float | None:
    """Cycles of one round of the loop by llvm-mca, or None where it has no model of the processor.

    Raises SecateurError where llvm-mca is not installed or does not understand the code.
    """
    found = simulated(loop.text(), target)
    return None if found is None else found[0]


def simulated(text: str, target: Target, rounds: int = _ITERATIONS) -> list[float] | None:
    """The same for each region of an assembly text, or for the text where it marks none."""
    program = llvm_tool("llvm-mca")
    version = _version(program)
    cores = _STAND_INS.get(target.cpu.core, ((0, target.cpu.core),))
    cpu = next(core for since, core in cores if version >= since)
    features = ",".join(f"+{name}" for name in target.features)
    command = [program, f"-mtriple={target.triple}", f"-mcpu={cpu}"]
    command += [f"-iterations={rounds}", *([f"-mattr={features}"] if features else [])]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if "unable to find instruction-level scheduling information" in done.stderr:
        return None
    totals = re.findall(r"Total Cycles:\s+(\d+)", done.stdout)
    if done.returncode or not totals:
        raise SecateurError(f"llvm-mca for {cpu}: {done.stderr.strip() or 'no cycles in its answer'}")
    return [int(total) / rounds for total in totals]


def llvm_tool(name: str) -> str:
    """The path of a program of LLVM, the newest there is; SecateurError where it is not installed."""
    programs = _installed(name, _path())
    if not programs:
        raise SecateurError(f"{name} is not installed; on Debian: apt-get install llvm")
    return max(programs, key=lambda program: programs[program])


def _path() -> str:
    return os.environ.get("PATH", "")


@cache
def _installed(name: str, path: str) -> dict[str, int]:
    """Versions by the paths of a program of LLVM, of which Debian has several, as `name-19`."""
    folders = [Path(folder) for folder in path.split(os.pathsep) if folder]
    files = [str(file) for folder in folders for file in (folder / name, *folder.glob(f"{name}-[0-9]*"))]
    return {program: _version(program) for program in files if os.access(program, os.X_OK)}


@cache
def _version(program: str) -> int:
    told = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    said = re.search(r"LLVM version (\d+)", told)
    return int(said[1]) if said else 0


def check(name: str, target: Target, simulate: bool = True) -> Row:
    """The layer `name` on `target`; without simulation on request.

    Raises SecateurError for a layer that is not known, and as `simulated_cycles` does.
    """
    if name not in LAYERS:
        raise SecateurError(f"unknown layer '{name}'; known: {', '.join(LAYERS)}")
    sample = LAYERS[name](target)
    return row_of(name, sample, main_loop(sample, loops_of(sample, target)), target, simulate)


def row_of(name: str, sample: Sample, loop: Loop, target: Target, simulate: bool) -> Row:
    """What `loop` of the layer's kernel executes, by step of the register tile."""
    steps = loop.multiplies / sample.tile
    cycles = simulated_cycles(loop, target) if simulate else None
    return Row(
        target.name,
        name,
        f"{sample.pixels}x{sample.vectors}",
        sample.tile,
        round(loop.loads / steps, 1),
        round(loop.others / steps, 1),
        loop.spills,
        round(sample.cycles, 1),
        None if cycles is None else round(cycles / steps, 1),
    )


_COLUMNS = "target            layer           tile  multiply  load  other  spills  model  llvm-mca  ratio"


def table(rows: Sequence[Row]) -> str:
    """Rows as text, one line each."""
    return "\n".join([_COLUMNS, *map(_line, rows)])


def _line(row: Row) -> str:
    simulated = "-" if row.simulated is None else f"{row.simulated:.1f}"
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
    return (
        f"{row.target:17} {row.layer:14} {row.tile:>5} {row.multiplies:9d} {row.loads:5.1f} "
        f"{row.others:6.1f} {row.spills:7d} {row.model:6.1f} {simulated:>9} {ratio:>6}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit status 2 for a target or layer that is not known."""
    parser = argparse.ArgumentParser(prog="cost_check", description=__doc__)
    parser.add_argument("--targets", default=",".join(DEFAULT), help="names, with commas between them")
    parser.add_argument("--layers", default=",".join(LAYERS), help="of these, with commas between them")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args(arguments)
    simulate = bool(_installed("llvm-mca", _path()))
    if not simulate:
        print("llvm-mca is not installed (Debian: apt-get install llvm): counts only", file=sys.stderr)
    try:
        chosen = [find(name) for name in options.targets.split(",")]
        rows = [check(layer, target, simulate) for target in chosen for layer in options.layers.split(",")]
    except SecateurError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps([_as_json(row) for row in rows], indent=1) if options.json else table(rows))
    return 0


def _as_json(row: Row) -> dict[str, str | float | None]:
    return asdict(row) | {"ratio": row.ratio}


if __name__ == "__main__":
    sys.exit(main())
