"""What becomes of one public network: does it compile, is it right, is it fast."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.runtime.manifest import read_manifest
from secateur.tools.bench.contest import Contest, Entry
from secateur.tools.bench.int8 import sqnr
from secateur.tools.bench.peers import Artifact, Floats, OnnxRuntime
from secateur.tools.bench.report import relative_error

from .rows import PublicModel

CALIBRATION_SAMPLES, HELD_OUT_SAMPLES = 16, 4
COMPILE_SECONDS = 600

Outputs = list[Floats]


@dataclass(frozen=True)
class Compiled:
    """An artifact, the wall-clock and processor seconds that its compilation took, and what it printed."""

    path: Path
    seconds: float
    processor_seconds: float
    said: str


@dataclass(frozen=True)
class Verdict:
    """One network's line in the table. Times are medians of one thread, in milliseconds.

    `error` is relative to the largest value of each output, the worst output counts; `int8_sqnr` (dB) is
    the worst output's. `predicted` is how many times as fast as float the compiler says its int8 network is.
    `failure` says why there is nothing else.
    """

    model: str
    failure: str = ""
    compile_seconds: float = 0.0
    processor_seconds: float = 0.0
    error: float = 0.0
    reference_ms: float = 0.0
    fp32_ms: float = 0.0
    int8_ms: float = 0.0
    int8_sqnr: float = 0.0
    predicted: float = 0.0

    @property
    def ratio(self) -> float:
        """Our float32 time over ONNX Runtime's: less is faster."""
        return self.fp32_ms / self.reference_ms if self.reference_ms else float("inf")

    @property
    def gain(self) -> float:
        """How many times as fast as our float32 our int8 is."""
        return self.fp32_ms / self.int8_ms if self.int8_ms else 0.0


def judge(model: PublicModel, source: Path, folder: Path, rounds: int, budget: float) -> Verdict:
    """Compiles `source` in float32 into `folder`, cold, then in int8; holds both against ONNX Runtime."""
    try:
        calibration = folder / f"{model.name}-calibration.npz"
        np.savez(calibration, allow_pickle=False, **{model.input: model.samples(CALIBRATION_SAMPLES, 1)})
        with _empty_cache() as cache:
            fp32 = compile_apart(model, source, folder / f"{model.name}.so", cache)
            asked = ("--quantize", "int8", "--calibration", str(calibration), "--json")
            int8 = compile_apart(model, source, folder / f"{model.name}-int8.so", cache, *asked)
        return _measured(model, source, fp32, int8, rounds, budget)
    except SecateurError as failure:
        return Verdict(model.name, failure=str(failure))


def compile_apart(model: PublicModel, source: Path, artifact: Path, cache: Path, *options: str) -> Compiled:
    """The command that a user types, with this kernel cache; SecateurError says what it said."""
    shape = () if model.settled else ("--shape", model.shape_option)
    command = [sys.executable, "-m", "secateur.tools.cli.main", "compile", str(source), "-o", str(artifact)]
    before, start = _children(), time.monotonic()
    try:
        done = subprocess.run(
            [*command, *shape, *options],
            env={**os.environ, "SECATEUR_CACHE": str(cache)},
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SecateurError(f"not compiled within {COMPILE_SECONDS} s") from None
    if done.returncode:
        raise SecateurError(f"exit code {done.returncode}: {' '.join((done.stderr or done.stdout).split())}")
    return Compiled(artifact, time.monotonic() - start, _children() - before, done.stdout)


@contextmanager
def _empty_cache() -> Iterator[Path]:
    """But for the linker's libc: built once for a machine, it is not what is timed."""
    from secateur.codegen.folder import cache_folder

    known = cache_folder() / "zig"
    known.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="secateur-cold-") as cache:
        (Path(cache) / "zig").symlink_to(known.resolve())
        yield Path(cache)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _measured(
    model: PublicModel, source: Path, fp32: Compiled, int8: Compiled, rounds: int, budget: float
) -> Verdict:
    held_out = model.inputs(HELD_OUT_SAMPLES, 2)
    expected = _reference(source, held_out)
    found, coarse = (_outputs(c.path, held_out) for c in (fp32, int8))
    different = (fp32.path,) if _same_network(fp32.path, int8.path) else (fp32.path, int8.path)
    medians = _contest(source, different, held_out[0], rounds, budget)
    return Verdict(
        model.name,
        compile_seconds=fp32.seconds,
        processor_seconds=fp32.processor_seconds,
        error=max(relative_error(y, x) for y, x in zip(found, expected, strict=True)),
        reference_ms=medians[0],
        fp32_ms=medians[1],
        int8_ms=medians[-1],
        int8_sqnr=min(sqnr(y, x) for y, x in zip(coarse, expected, strict=True)),
        predicted=float(json.loads(int8.said)["int8_gain"]),
    )


def _same_network(one: Path, other: Path) -> bool:
    """Whether two artifacts hold the same operators, as where int8 does not pay: one is timed then."""
    return bool(read_manifest(one)["ir"] == read_manifest(other)["ir"])


def _reference(source: Path, inputs: list[Floats]) -> Outputs:
    """ONNX Runtime's outputs, each of all inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return _joined([session.run(None, {name: x}) for x in inputs])


def _outputs(artifact: Path, inputs: list[Floats]) -> Outputs:
    import secateur

    with secateur.load(artifact) as session:
        name = session.inputs[0].name
        return _joined([list(session.run({name: x}).values()) for x in inputs])


def _joined(runs: list[list[Any]]) -> Outputs:
    return [np.stack(values) for values in zip(*runs, strict=True)]


def _contest(
    source: Path, artifacts: tuple[Path, ...], x: Floats, rounds: int, budget: float
) -> tuple[float, ...]:
    """Medians of ONNX Runtime and the artifacts in turn, on one thread."""
    entries = [Entry(OnnxRuntime.name), *(Entry(Artifact.name, path=path) for path in artifacts)]
    with ExitStack() as stack:
        contest = Contest(source, 1, stack)
        for entry in entries:
            contest.enter(entry)
        contest.turn(lambda worker: worker.output(x))
        timings = contest.timings(contest.rounds(rounds, budget))
    return tuple(_median(timings[entry].median, timings[entry].reason) for entry in entries)


def _median(median: float | None, reason: str) -> float:
    if median is None:
        raise SecateurError(reason)
    return median
