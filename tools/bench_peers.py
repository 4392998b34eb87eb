"""`make bench`: Secateur against its peers, whole networks in float32 at batch 1.

Engines take turns in rounds, so that a slow minute of the machine hits all alike; medians over all
rounds are compared. The result is a table on the terminal, and Markdown and JSON in the output folder.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import onnx
import typer
from rich.console import Console
from rich.markup import escape

from secateur.tools import models
from secateur.tools.bench_report import (
    OURS,
    REFERENCE,
    Row,
    Timing,
    as_json,
    as_markdown,
    as_table,
    machine,
    notes,
    relative_error,
    summarize,
)
from secateur.tools.bench_worker import Sample, Worker
from secateur.tools.peers import PEERS, Floats, PeerError, engine

DEFAULT_MODELS = (
    "resnet18", "resnet34", "resnet50", "vgg16", "googlenet", "squeezenet1.1", "alexnet", "mobilenet-v2"
)  # fmt: skip
BURST_SECONDS, BURST_RUNS = 0.05, 2
MIN_ROUNDS = 5  # even where the time budget is spent

Answer = TypeVar("Answer")


class Contest:
    """Engines that take turns on one model. One that fails drops out, and `failed` says why."""

    def __init__(self, path: Path, threads: int, stack: ExitStack) -> None:
        self._path = path
        self._threads = threads
        self._stack = stack
        self._workers: dict[str, Worker] = {}
        self.prepared: dict[str, float] = {}  # seconds each engine took to load
        self.failed: dict[str, Timing] = {}

    def enter(self, name: str) -> None:
        """Loads the model into engine `name`, which has the machine to itself meanwhile."""
        missing = engine(name).missing()
        if missing:
            self._drop(name, "not installed: pip install " + " ".join(missing))
            return
        logs = self._path.parent / "logs"
        logs.mkdir(exist_ok=True)
        log = logs / f"{self._path.stem}-{name}-t{self._threads}.log"
        worker = self._stack.enter_context(Worker(name, self._path, self._threads, log))
        try:
            self.prepared[name] = worker.prepare()
            self._workers[name] = worker
        except PeerError as error:
            self._drop(name, str(error))

    def turn(self, action: Callable[[Worker], Answer]) -> dict[str, Answer]:
        """One action of every engine still in, one after another."""
        answers: dict[str, Answer] = {}
        for name, worker in list(self._workers.items()):
            try:
                answers[name] = action(worker)
            except PeerError as error:
                self._drop(name, str(error))
        return answers

    def _drop(self, name: str, reason: str) -> None:
        self._workers.pop(name, None)
        self.failed[name] = Timing(name, reason=reason)


def measure(model: str, path: Path, threads: int, engines: list[str], rounds: int, budget: float) -> Row:
    """Times `engines` on the file `path` in interleaved rounds.

    There are `rounds` rounds, fewer where `budget` seconds are spent, but at least MIN_ROUNDS of them.
    """
    x = sample_input(path)
    with ExitStack() as stack:
        contest = Contest(path, threads, stack)
        for name in engines:
            contest.enter(name)
        outputs = contest.turn(lambda worker: worker.output(x))
        samples = _rounds(contest, rounds, budget)
    reference = outputs.get(REFERENCE)
    timings = []
    for name in engines:
        timing = contest.failed.get(name)
        if timing is None:
            error = None if reference is None else relative_error(outputs[name], reference)
            prepared = contest.prepared[name]
            timing = replace(summarize(name, samples[name]), prepare_s=prepared, error=error)
        timings.append(timing)
    return Row(model, threads, tuple(timings))


def sample_input(path: Path) -> Floats:
    """Standard normal values of the model's input shape, the same at every call."""
    dims = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    return np.random.default_rng(0).standard_normal([d.dim_value for d in dims], np.float32)


def _rounds(contest: Contest, rounds: int, budget: float) -> dict[str, list[Sample]]:
    """Run times of every engine; the first turn warms up and is dropped."""
    samples: dict[str, list[Sample]] = {}
    start = time.monotonic()
    for index in range(rounds + 1):
        if index > MIN_ROUNDS and time.monotonic() - start > budget:
            break
        for name, burst in contest.turn(lambda w: w.burst(BURST_SECONDS, BURST_RUNS)).items():
            samples.setdefault(name, []).extend(burst if index > 0 else [])
    return samples


def _write(path: Path, text: str) -> None:
    """Beside, then renamed: an interrupted benchmark leaves the last complete table."""
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(text)
    partial.rename(path)


# ---- command line


def _listed(text: str, known: tuple[str, ...], what: str) -> list[str]:
    chosen = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in chosen if word not in known]
    if unknown or not chosen:
        wrong = f"unknown {what} '{unknown[0]}'" if unknown else f"no {what} given"
        raise typer.BadParameter(f"{wrong}; known: {', '.join(known)}")
    return chosen


def _thread_counts(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise typer.BadParameter(f"thread counts are positive integers separated by commas, got '{text}'")
    return [int(word) for word in words]


def main(
    model_list: Annotated[str, typer.Option("--models", help="Models, comma separated.")] = ",".join(
        DEFAULT_MODELS
    ),
    thread_list: Annotated[str, typer.Option("--threads", help="Thread counts, comma separated.")] = "1,2",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which every engine has one turn.")] = 20,
    budget: Annotated[float, typer.Option(min=0, help="Seconds after which a row stops early.")] = 40.0,
    peers: Annotated[str, typer.Option(help="Peers, comma separated.")] = ",".join(PEERS),
    out: Annotated[Path, typer.Option(help="Folder of the tables; models are cached in it.")] = Path(
        "build/bench"
    ),
) -> None:
    """Compare Secateur with its peers on whole networks."""
    chosen = _listed(model_list, models.names(), "model")
    threads = _thread_counts(thread_list)
    engines = [OURS, *_listed(peers, PEERS, "peer")]
    console = Console(width=None if sys.stdout.isatty() else 140)
    errors = Console(stderr=True)
    about = machine(engines)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in chosen:
        path = models.save(name, out / "models")
        for count in threads:
            if sys.stderr.isatty():
                errors.print(f"{name}, {count} thread{'s' * (count > 1)} …")
            rows.append(measure(name, path, count, engines, rounds, budget))
            _write(out / "peers.md", as_markdown(rows, engines, about))
            _write(out / "peers.json", as_json(rows, about))
    console.print(as_table(rows, engines))
    for note in notes(rows):
        console.print(escape(note))
    console.print(f"Written: {out / 'peers.md'}, {out / 'peers.json'}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
