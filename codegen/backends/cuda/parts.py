"""What an artifact for a GPU is linked of: the driver, the device's runtime, and one PTX of all kernels."""

from __future__ import annotations

from dataclasses import replace

from ...link import Parts
from ...program import Program
from ...runtime_files import DEVICE_SOURCES
from ...sources import DeviceTable
from .driver import emit_driver
from .ptx.modules import ptx_head

_HANDLE = 8  # bytes


def ptx_of(program: Program) -> str:
    """One PTX text of the program's kernels."""
    bodies = [module.code.decode() for module in program.modules]
    return ptx_head(program.target.cuda.architecture) + "\n".join(bodies)


def on_host(program: Program) -> Program:
    """The program as tables of the host describe it: its arena is what a state keeps beside itself."""
    kept = len(program.modules) + len(program.inputs) + len(program.outputs)
    architecture = program.target.cuda.architecture
    device = {"architecture": architecture.name, "ptx": architecture.ptx, "arena_bytes": program.arena_bytes}
    if program.finished:
        device["cubin"] = architecture.name
    return replace(
        program,
        arena_bytes=_HANDLE * kept,
        workspace_bytes=0,
        manifest={**program.manifest, "device": device},
    )


def parts_of(program: Program) -> Parts:
    """ProgramError where the program is unsound."""
    architecture = program.target.cuda.architecture
    table = DeviceTable(
        tuple(module.symbol for module in program.modules),
        architecture.number,
        architecture.ptx,
        program.arena_bytes,
        cubin=bool(program.finished),
    )
    ptx = ptx_of(program).encode()
    return Parts(
        emit_driver(program), (), DEVICE_SOURCES, static=False, device=table, ptx=ptx, cubin=program.finished
    )
