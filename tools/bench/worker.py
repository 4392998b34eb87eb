"""One engine in a process of its own, frozen while the others run.

Separate processes keep thread pools, OpenMP runtimes and pinned cores from disturbing each other,
and turn an engine's crash into a line of the table. Between its turns a worker is stopped
(SIGSTOP), because idle threads of several engines spin for tens of milliseconds.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from secateur.ir.support.unasked import do_without
from secateur.tools.bench.peers import Floats, Int8, PeerError, Runner, engine

PREPARE_SECONDS = 3600.0  # loading includes conversion and quantization, and for Secateur a cold compile
RUN_SECONDS = 300.0


class Sample(NamedTuple):
    """One inference: seconds it took, and seconds its threads had to wait for a processor meanwhile."""

    taken: float
    waited: float


class Worker:
    """Runs engine `name` on `model`; every method raises PeerError with the reason when it fails.

    In float32, or quantized as `int8` says. What the engine prints goes to the file `log`.
    """

    def __init__(self, name: str, model: Path, threads: int, log: Path, int8: Int8 | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._log = log
        arguments = (far_end, name, model, threads, log, int8)
        # Not a daemon: a compiler may start processes of its own.
        self._process = context.Process(target=_serve, args=arguments)
        self._process.start()
        far_end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self) -> float:
        """Waits until the model is loaded; the seconds that took."""
        return float(self._receive(PREPARE_SECONDS))

    def output(self, x: Floats) -> Floats:
        """The engine's output for `x`."""
        return np.asarray(self._ask(("output", x)))

    def burst(self, seconds: float, runs: int) -> list[Sample]:
        """Times of at least `runs` consecutive inferences that fill `seconds`.

        One more, untimed, goes before them: others have had the caches in the meantime.
        """
        return [Sample(*pair) for pair in self._ask(("burst", seconds, runs))]

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _ask(self, request: tuple[Any, ...]) -> Any:
        self._signal(signal.SIGCONT)
        try:
            self._pipe.send(request)
        except OSError:
            raise PeerError(self._reason()) from None
        answer = self._receive(RUN_SECONDS)
        self._signal(signal.SIGSTOP)
        return answer

    def _receive(self, seconds: float) -> Any:
        if not self._pipe.poll(seconds):
            raise PeerError(f"no answer within {seconds:.0f} s")
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            raise PeerError(self._reason()) from None

    def _signal(self, number: signal.Signals) -> None:
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def _reason(self) -> str:
        """Why the process ended: the last line it printed, else its exit code."""
        self._process.join(5)
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return lines[-1].removeprefix(f"{PeerError.__module__}.PeerError: ") if lines else f"exit code {code}"


def _serve(pipe: Connection, name: str, model: Path, threads: int, log: Path, int8: Int8 | None) -> None:
    """The worker's life. An error ends it with a traceback in the log, from which the reason is read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    _redirect_output(log)
    do_without("torch")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    start = time.perf_counter()
    peer = engine(name)
    runner = peer.prepare_int8(model, threads, int8) if int8 else peer.prepare(model, threads)
    pipe.send(time.perf_counter() - start)
    x: Floats = np.zeros(0, np.float32)
    while True:
        match pipe.recv():
            case "output", x:
                pipe.send(runner.run(x))
            case "burst", seconds, runs:
                pipe.send(burst(runner, x, seconds, runs))


def burst(runner: Runner, x: Floats, seconds: float, runs: int) -> list[tuple[float, float]]:
    """The fields of Sample for at least `runs` inferences that fill `seconds`, after one untimed."""
    runner.run(x)
    samples: list[tuple[float, float]] = []
    while len(samples) < runs or sum(taken for taken, _ in samples) < seconds:
        waited = _waited()
        start = time.perf_counter()
        runner.run(x)
        taken = time.perf_counter() - start
        samples.append((taken, _waited() - waited))
    return samples


def _waited() -> float:
    """Seconds that this process's threads have been ready and without a processor; 0 where unknown."""
    total = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread may have ended meanwhile
            total += int(file.read_text().split()[1])
    return total / 1e9


def _die_with_parent() -> None:
    """Asks Linux to kill this process when its parent ends: a stopped one would never notice."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL))


def _redirect_output(log: Path) -> None:
    """Sends what native code and Python print, both streams, to `log`."""
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
