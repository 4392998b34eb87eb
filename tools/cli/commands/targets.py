"""`secateur targets`: what the compiler can compile for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ...report import print_json, size
from ...tables import table
from ..common import Json

if TYPE_CHECKING:
    from secateur.codegen.targets.target import Target


def targets(json: Json = False) -> None:
    """List the processors, boards and GPUs to compile for."""
    from secateur.codegen.targets.host import HOST, host, runnable
    from secateur.codegen.targets.rows import GPUS, PROCESSORS, TARGETS

    here = [host()] if os.environ.get(HOST) or runnable() else []  # other machines compile for boards too
    rows = [*map(_row, (*here, *PROCESSORS.values()))]
    gpus = [*map(_gpu_row, GPUS.values())]
    others = [_file_row(row) for row in TARGETS.values() if row.name not in PROCESSORS | GPUS]
    if json:
        print_json([*rows, *gpus, *others])
        return
    headings = ("target", "architecture", "core", "vectors", "L1", "L2", "GFLOP/s", "needs")
    spare = ("L1", "L2", "vectors")
    print(table(headings, map(_cells, rows), ("L1", "L2", "GFLOP/s"), shorten=("needs",), spare=spare))
    print()
    print(
        table(("target", "artifact", "runs on"), ((o["name"], o["artifact"], o["runs_on"]) for o in others))
    )
    headings = ("GPU", "code", "host", "SMs", "GHz", "DRAM GB/s", "GFLOP/s", "int8 GOP/s")
    print("\n" + table(headings, map(_gpu_cells, gpus), headings[3:]))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    vectors = f"{row['isa']} ({8 * row['vector_bytes']} bit)"
    caches = size(row["l1_bytes"]), size(row["l2_bytes"])
    peak, needs = f"{row['peak_gflops']:.0f}", ",".join(row["features"]) or "-"
    return row["name"], row["architecture"], row["cpu"], vectors, *caches, peak, needs


def _file_row(target: Target) -> dict[str, Any]:
    """A target that runs files of another runtime."""
    from secateur.codegen.backends.registry import backend_of
    from secateur.codegen.targets.files import Files

    assert isinstance(target.machine, Files)
    return {"name": target.name, "artifact": backend_of(target).kinds[0], "runs_on": target.machine.runs_on}


def _gpu_cells(row: dict[str, Any]) -> tuple[str, ...]:
    rates = (f"{row[name]:.0f}" for name in ("dram_gbps", "peak_gflops", "dot_gops"))
    parts = row["name"], f"{row['gpu']}, PTX {row['ptx']}", row["architecture"], str(row["multiprocessors"])
    return *parts, f"{row['clock_ghz']:g}", *rates


def _gpu_row(target: Target) -> dict[str, Any]:
    gpu, cuda = target.gpu, target.cuda
    cycles = gpu.multiprocessors * gpu.clock_ghz
    return {
        "name": target.name,
        "architecture": cuda.host.architecture,
        "triple": cuda.host.triple,
        "gpu": cuda.architecture.name,
        "ptx": f"{cuda.architecture.ptx / 10:.1f}",
        "multiprocessors": gpu.multiprocessors,
        "clock_ghz": gpu.clock_ghz,
        "l2_bytes": gpu.l2_bytes,
        "dram_gbps": gpu.dram_gbps,
        "peak_gflops": 2 * gpu.fma * cycles,
        "dot_gops": 8 * gpu.dot * cycles,
        "matrix_gops": 2 * gpu.matrix * cycles,
    }


def _row(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "architecture": target.triple.split("-")[0],
        "triple": target.triple,
        "cpu": target.cpu.core,
        "isa": target.isa.name,
        "vector_bytes": target.isa.vector_bytes,
        "features": list(target.features),
        "clock_ghz": target.clock_ghz,
        "l1_bytes": target.l1_bytes,
        "l2_bytes": target.l2_bytes,
        "dram_gbps": target.rates.dram_gbps,
        "peak_gflops": 2 * target.lanes * target.fma_per_cycle * target.clock_ghz,
    }
