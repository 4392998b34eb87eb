"""The benchmark's artifacts: compiled for a core, run under qemu-user, and counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import secateur
from secateur.codegen.targets.find import find
from secateur.tools.bench import data
from secateur.tools.bench.arm.counting import CountError, Counts, snapshots
from secateur.tools.bench.int8 import sqnr
from secateur.tools.bench.peers import Floats

_ONCE = ("--threads", "1", "--warmup", "1", "--iterations", "1", "--json")


@dataclass(frozen=True)
class Core:
    """A core as qemu and our targets call it."""

    name: str
    target: str
    emulated: str

    def computes_in(self, precision: str) -> bool:
        """Whether artifacts of that precision are made for the core."""
        return precision != "fp16" or find(self.target).half


CORES = {
    "a72": Core("a72", "rpi4", "cortex-a72"),
    "a76": Core("a76", "rpi5", "cortex-a76"),
}


@dataclass(frozen=True)
class Sample:
    """What a network is quantized on and run on: an `.npz`, and an `.npy` with a batch of 1."""

    calibration: Path
    held_out: Path


Options = Callable[[Sample], Mapping[str, Any]]

PRECISIONS: dict[str, Options] = {
    "fp32": lambda _: {},
    "fp16": lambda _: {"precision": secateur.Fp16()},
    "int8": lambda sample: {"quantize": secateur.Int8(sample.calibration, layers="all")},
}
"""What `secateur.compile` is asked for, by precision."""


@dataclass(frozen=True)
class Layer:
    """An operator of the artifact, as `bench` calls it, and what computes it."""

    operator: str
    label: str
    primitive: str
    macs: int
    counts: Counts


@dataclass(frozen=True, eq=False)
class Counted:
    """One inference: all that was executed in it, operator by operator as well, and the first output."""

    counts: Counts
    layers: tuple[Layer, ...]
    output: Floats


def samples(network: str, path: Path, images: int) -> Sample:
    """The first `images` of those that the benchmark calibrates on, and the first that it measures on."""
    inputs = data.inputs(network, path)
    with np.load(inputs.calibration) as file:
        arrays = {name: file[name][:images] for name in file.files}
    folder = inputs.calibration.parent
    calibration, held_out = folder / f"calibration-{images}.npz", folder / "held_out.npy"
    np.savez(calibration, allow_pickle=False, **arrays)
    np.save(held_out, inputs.held_out[0])
    return Sample(calibration, held_out)


def build(path: Path, core: Core, precision: str, sample: Sample, folder: Path) -> secateur.Artifact:
    """The artifact, a folder; SecateurError as `secateur.compile` raises it."""
    options = PRECISIONS[precision](sample)
    output = folder / f"{path.stem}-{core.name}-{precision}"
    return secateur.compile(path, output, core.target, kind="dir", **options)


def run(artifact: secateur.Artifact, core: Core, sample: Sample) -> Counted:
    """Counts one inference after another; CountError where nothing can be counted."""
    output = artifact.path.with_name(artifact.path.name + ".npy")
    files = ("--input", str(sample.held_out), "--output", str(output))
    marks, told = snapshots([artifact.path / "bench", *_ONCE, *files], core.emulated)
    chosen = {op.loc or op.name: op.get("primitive", "") for op in artifact.graph.operators}
    return split(marks, json.loads(told)["operators"], chosen, np.load(output))


def split(
    marks: list[Counts], operators: list[dict[str, Any]], primitives: Mapping[str, str], output: Floats
) -> Counted:
    """`bench` asks for the time around loading, before an inference, around the next and each operator.

    `primitives` are by the operators' labels. CountError where there are more requests or fewer.
    """
    if len(marks) != 2 * len(operators) + 6:
        raise CountError(
            f"{len(marks) - 1} requests for the time where {2 * len(operators) + 5} were expected: "
            "this emulator gives the program a clock that it reads without asking"
        )
    _, _, _, begin, end, *timed = marks
    layers = [
        Layer(op["operator"], op["label"], primitives.get(op["label"], ""), op["macs"], after - before)
        for op, before, after in zip(operators, timed[::2], timed[1::2], strict=False)
    ]
    return Counted(end - begin, tuple(layers), output)


def distance(counted: Counted, reference: Counted) -> float:
    """SQNR in dB of one artifact's output against another's."""
    return sqnr(counted.output, reference.output)
