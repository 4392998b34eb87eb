"""Bundles: kernels of a board as static executables that time them there, with nothing else on it.

A bundle has several executables, each with as many kernels as fit into
`PART_BYTES` of weights, so that a small board can run it. The weights
themselves stay here: an executable invents numbers of the same size. `run.sh` runs the executables
in turn, round after round, and prints a line of JSON for each run.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.codegen.backends.registry import kernels_of
from secateur.codegen.folder import cache_folder
from secateur.codegen.link import build_folder, link_bench
from secateur.codegen.program import Program
from secateur.codegen.targets.target import Target
from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import replacing
from secateur.ir.support.progress import Progress

from .bundle_texts import ON_GPUS, ON_PROCESSORS, README, SCRIPT
from .candidates import Candidate, Network
from .measure import REPEATS
from .table import compiled_for, kernels_version
from .timing import TimingProgram, arena_bytes, is_gpu, weight_bytes

FORMAT = "secateur bundle 1"
PART_BYTES = 64 << 20  # of weights in one executable
MOST_BYTES = 256 << 20  # that a kernel may need altogether; larger ones are left out
OVERHEAD = 8 << 20  # of a process: code, stack, libc
GPU_COPIES = 3  # of weights: the program's, the runtime's that the GPU copies from, and the GPU's
GPU_WARMUP = 5  # runs in which a GPU reaches its clock


@dataclass(frozen=True)
class Bundle:
    """What was written: kernels in it, those too large for it, executables, bytes of memory they need."""

    kernels: int
    left_out: int
    parts: int
    memory: int


def header_of(network: Network) -> dict[str, Any]:
    """What results must say to be read as those of this network's bundle."""
    symbols = " ".join(c.symbol for c in network.kernels)
    return {
        "format": FORMAT,
        "model": network.name,
        "target": network.target.name,
        "processor": compiled_for(network.target),
        "compiler": kernels_version(),
        "kernels": hashlib.sha256(symbols.encode()).hexdigest()[:24],
    }


def write_bundle(network: Network, path: Path, progress: Progress) -> Bundle:
    """Writes the bundle, a tar, whole or not at all; the same network gives the same bytes.

    SecateurError where no kernel can be timed.
    """
    parts = parts_of(network.kernels, network.target, progress)
    if not parts:
        raise SecateurError(f"{network.name}: has no kernels to time on {network.target.name}")
    kernels = sum(len(part.candidates) for part in parts)
    copies = GPU_COPIES if is_gpu(network.target) else 1
    memory = max(copies * part.weight_bytes + part.arena_bytes for part in parts) + OVERHEAD
    made = Bundle(kernels, len(network.kernels) - kernels, len(parts), memory)
    with replacing(path) as draft:
        _write(draft, network, made, parts, progress)
    return made


def parts_of(candidates: Sequence[Candidate], target: Target, progress: Progress) -> list[TimingProgram]:
    """The kernels in order, in as few parts as hold them; those too large for any are left out."""
    parts: list[TimingProgram] = []
    for done, candidate in enumerate(candidates, 1):
        stages = candidate.stages()
        weights = weight_bytes(stages)
        if weights + arena_bytes(candidate, stages) <= MOST_BYTES:
            if not parts or parts[-1].weight_bytes + weights > PART_BYTES:
                parts.append(TimingProgram(target))
            parts[-1].add(candidate, stages)
        progress("packing", done, len(candidates))
    return parts


def _write(
    draft: Path, network: Network, made: Bundle, parts: Sequence[TimingProgram], progress: Progress
) -> None:
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in _texts(network, made).items():
            _add(tar, name, text.encode())
        for number, part in enumerate(parts, 1):
            _add(tar, f"part-{number:03}", executable(part.program(f"part {number}", progress)))
            progress("executables", number, len(parts))


def executable(program: Program) -> bytes:
    """`bench` and the program in one file, that needs nothing on the board, or its driver and libc."""
    hosted, parts = kernels_of(program.target).linked(program)
    with build_folder(hosted, parts) as folder:
        made = link_bench(hosted, folder, cache_folder(), parts.runtime, static=parts.static)
        return made.read_bytes()


def _texts(network: Network, made: Bundle) -> dict[str, str]:
    words: dict[str, Any] = {
        "model": network.name,
        "target": network.target.name,
        "kernels": made.kernels,
        "parts": made.parts,
        "memory": (made.memory + (1 << 20) - 1) >> 20,
        "rounds": REPEATS,
    }
    words |= {**ON_GPUS, "warmup": GPU_WARMUP} if is_gpu(network.target) else {**ON_PROCESSORS, "warmup": 0}
    header = header_of(network) | {"runs": made.parts * REPEATS}
    return {
        "README.txt": README.format(**words),
        "header.json": json.dumps(header) + "\n",
        "run.sh": SCRIPT.format(**words),
    }


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A file without time or owner; texts but for the script cannot be run."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644 if name.endswith((".txt", ".json")) else 0o755
    tar.addfile(info, io.BytesIO(data))
