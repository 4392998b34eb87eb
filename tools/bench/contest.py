"""Engines that take turns on one network, so that a slow minute of the machine hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from secateur.tools.bench.peers import Int8, PeerError, engine
from secateur.tools.bench.report import Timing, summarize
from secateur.tools.bench.worker import Sample, Worker

BURST_SECONDS, BURST_RUNS = 0.05, 2
MIN_ROUNDS = 5  # even where the time budget is spent

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Entry:
    """An engine in a contest, in float32 or quantized as `int8` says; on a `path` of its own where given."""

    engine: str
    int8: Int8 | None = None
    path: Path | None = None

    @property
    def variant(self) -> str:
        return self.int8.variant if self.int8 else ""


class Contest:
    """Engines that take turns on one model. One that fails drops out, and `failed` says why."""

    def __init__(self, path: Path, threads: int, stack: ExitStack) -> None:
        self._path = path
        self._threads = threads
        self._stack = stack
        self._workers: dict[Entry, Worker] = {}
        self.prepared: dict[Entry, float] = {}  # seconds each engine took to load
        self.failed: dict[Entry, str] = {}

    def enter(self, entry: Entry) -> None:
        """Loads the model into the engine, which has the machine to itself meanwhile."""
        missing = engine(entry.engine).missing(entry.variant)
        if missing:
            self._drop(entry, "not installed: pip install " + " ".join(missing))
            return
        worker = self._stack.enter_context(
            Worker(entry.engine, entry.path or self._path, self._threads, self._log(entry), entry.int8)
        )
        try:
            self.prepared[entry] = worker.prepare()
            self._workers[entry] = worker
        except PeerError as error:
            self._drop(entry, str(error))

    def leave(self, name: str, variant: str) -> None:
        """Ends an engine that has no more turns."""
        entry = next(e for e in self._workers if (e.engine, e.variant) == (name, variant))
        self._workers.pop(entry).close()

    def turn(self, action: Callable[[Worker], Answer]) -> dict[Entry, Answer]:
        """One action of every engine still in, one after another."""
        answers: dict[Entry, Answer] = {}
        for entry, worker in list(self._workers.items()):
            try:
                answers[entry] = action(worker)
            except PeerError as error:
                self._drop(entry, str(error))
        return answers

    def rounds(self, count: int, budget: float) -> dict[Entry, list[Sample]]:
        """Run times of every engine in `count` rounds, fewer where `budget` seconds are spent, but at
        least MIN_ROUNDS. A first turn warms up and is dropped."""
        samples: dict[Entry, list[Sample]] = {}
        start = time.monotonic()
        for index in range(count + 1):
            if index > MIN_ROUNDS and time.monotonic() - start > budget:
                break
            for entry, burst in self.turn(lambda w: w.burst(BURST_SECONDS, BURST_RUNS)).items():
                samples.setdefault(entry, []).extend(burst if index > 0 else [])
        return samples

    def timings(self, samples: dict[Entry, list[Sample]]) -> dict[Entry, Timing]:
        """What `rounds` measured of the engines still in, and why others are out."""
        reasons = {e: Timing(e.engine, e.variant, reason=reason) for e, reason in self.failed.items()}
        return reasons | {e: self._timing(e, samples[e]) for e in self._workers}

    def _timing(self, entry: Entry, samples: list[Sample]) -> Timing:
        timing = summarize(entry.engine, samples)
        return replace(timing, variant=entry.variant, prepare_s=self.prepared[entry])

    def _log(self, entry: Entry) -> Path:
        logs = self._path.parent / "logs"
        logs.mkdir(exist_ok=True)
        words = [(entry.path or self._path).stem, entry.engine, *([entry.variant] if entry.variant else [])]
        return logs / f"{'-'.join(words)}-t{self._threads}.log"

    def _drop(self, entry: Entry, reason: str) -> None:
        self._workers.pop(entry, None)
        self.failed[entry] = reason
