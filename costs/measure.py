"""Timing kernels on this machine: all of them in turn, round after round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.backends.registry import kernels_of
from secateur.codegen.build import build_kernels
from secateur.codegen.cache import load_kernel
from secateur.codegen.program import Port
from secateur.codegen.targets.target import Target
from secateur.ir.support.progress import Progress, silent
from secateur.ir.support.unfinished import temporary_folder
from secateur.ir.types import DType
from secateur.runtime.session import load

from .candidates import Candidate, kernels_in
from .samples import Samples, Timing, timing
from .timing import ALIGNMENT, TimingProgram, port_bytes

REPEATS = 9
RUNS = 3
"""Of which a round is the fastest, kernel by kernel: another program on the core is no kernel's time."""

Round = Callable[[], dict[str, float]]


def measured(
    candidates: Sequence[Candidate],
    target: Target,
    distance: int,
    progress: Progress = silent,
    fresh: bool = False,
) -> dict[str, Timing]:
    """The time of each candidate by its kernel's symbol, from the cache or measured now.

    `distance` says how many bytes a network reads between two uses of the same weights. An interrupt costs
    one round; the others are in the cache. With `fresh` nothing is taken from there.
    """
    samples = Samples(distance)
    if fresh:
        for candidate in candidates:
            samples.forget(candidate.symbol)
    waiting = [c for c in candidates if len(samples.recall(c.symbol)) < REPEATS]
    if waiting:
        with rounds(waiting, target, distance, progress) as run:
            _repeat(run, waiting, samples, progress)
    return {c.symbol: timing(samples.recall(c.symbol)) for c in candidates}


def together(
    candidates: Sequence[Candidate],
    target: Target,
    distance: int,
    progress: Progress = silent,
    fresh: bool = False,
) -> dict[str, Timing]:
    """The same, but where any of them has not been timed, all are, in the same rounds.

    So times compare, whatever the machine did between two runs.
    """
    samples = Samples(distance)
    fresh = fresh or any(len(samples.recall(c.symbol)) < REPEATS for c in candidates)
    return measured(candidates, target, distance, progress, fresh)


class _SpentError(Exception):
    """The time to build in is over."""


def built_within(
    candidates: Sequence[Candidate], target: Target, seconds: float, progress: Progress = silent
) -> list[Candidate]:
    """Those whose kernels are built, earlier or now, one after the other, for so many seconds."""
    end = time.monotonic() + seconds

    def watched(what: str, done: int, total: int) -> None:
        progress(what, done, total)
        if done < total and time.monotonic() >= end:
            raise _SpentError

    with suppress(_SpentError):
        build_kernels(kernels_in(candidates), target, kernels_of(target).compile, watched)
    return [c for c in candidates if all(load_kernel(symbol) is not None for symbol in c.kernels)]


def _repeat(run: Round, waiting: Sequence[Candidate], samples: Samples, progress: Progress) -> None:
    run()  # the first finds memory without pages
    missing = REPEATS - min(len(samples.recall(c.symbol)) for c in waiting)
    taken: dict[str, list[float]] = {c.symbol: [] for c in waiting}
    try:
        for done in range(missing):
            progress("rounds", done, missing)
            runs = [run() for _ in range(RUNS)]
            for symbol, seconds in taken.items():
                seconds.append(min(found[symbol] for found in runs))
        progress("rounds", missing, missing)
    finally:  # once, since it takes longer to replace a file than to run most kernels
        for symbol, seconds in taken.items():
            samples.add(symbol, *seconds)


@contextmanager
def rounds(
    candidates: Sequence[Candidate], target: Target, distance: int, progress: Progress = silent
) -> Iterator[Round]:
    """A function that runs every candidate once, in order, and gives seconds by symbol."""
    timed = TimingProgram(target)
    for candidate in candidates:
        timed.add(candidate, candidate.stages())
    program = timed.program("candidates", progress)
    with temporary_folder("secateur-profile-") as folder:
        path = kernels_of(target).write(program, folder / "candidates.so")
        pool = _pool(program.inputs, distance, folder / "weights")
        feeds = _placed(program.inputs, pool)
        with load(path) as session:

            def run() -> dict[str, float]:
                pool.max()  # as much is read between two rounds as between two images
                found = session.profile(feeds)
                return {
                    c.symbol: max(sum(found[row].ns for row in rows), 1) * 1e-9
                    for c, rows in zip(candidates, timed.rows, strict=True)
                }

            yield run


def _pool(ports: Sequence[Port], distance: int, path: Path) -> NDArray[Any]:
    """Bytes in a file that is mapped, as an artifact's weights are: numbers in [-1, 1)."""
    count = max([distance, *map(port_bytes, ports)]) // 4 + ALIGNMENT
    np.random.default_rng(0).uniform(-1, 1, count).astype(np.float32).tofile(path)
    return np.memmap(path, np.uint8, "r")


def _placed(ports: Sequence[Port], pool: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """The arrays of inputs, one behind the other in the pool, from its start again at its end."""
    arrays, at = {}, 0
    for port in ports:
        bytes = port_bytes(port)
        at = 0 if at + bytes > pool.nbytes else at
        arrays[port.name] = pool[at : at + bytes].view(DType(port.dtype).numpy).reshape(port.shape)
        at += -(-bytes // ALIGNMENT) * ALIGNMENT
    return arrays
