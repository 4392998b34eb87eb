"""Times of several artifacts that take turns on this machine, on one thread: medians that compare.

    share("model.onnx", "pruned.onnx")     # the pruned network's time, compiled, as a share of the other's

Time is counted by the artifact's own clock, operator by operator: a call from Python takes 30 us more, a
tenth of a small network.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import secateur
from secateur.ir.support.unfinished import temporary_folder
from secateur.model import Model
from secateur.prepare import Costs
from secateur.runtime.session import Session

ROUNDS = 60
BURST_SECONDS = 0.02  # of one artifact's turn
MOST_SECONDS = 60.0  # of all turns; then there are no more, but at least MIN_ROUNDS
MIN_ROUNDS = 5


@dataclass(frozen=True)
class Turn:
    """An artifact's runs: the median, the quartiles, and the fastest, in seconds."""

    median: float
    quartiles: tuple[float, float]
    best: float
    runs: int


def turns(artifacts: Sequence[Path], rounds: int = ROUNDS, most: float = MOST_SECONDS) -> list[Turn]:
    """The artifacts' times on seeded noise. Each turn begins with a run that is not counted."""
    with ExitStack() as stack:
        runs = [_run(stack.enter_context(secateur.load(path))) for path in artifacts]
        taken: list[list[float]] = [[] for _ in runs]
        end = time.monotonic() + most
        for done in range(rounds + 1):  # the first round warms up
            if done > MIN_ROUNDS and time.monotonic() > end:
                break
            for run, times in zip(runs, taken, strict=True):
                burst = _burst(run)
                times += burst if done else []
    return [_turn(times) for times in taken]


def _run(session: Session) -> Callable[[], float]:
    """A function that runs it once, and gives the seconds that its operators took."""
    random = np.random.default_rng(0)
    feeds = {p.name: random.normal(size=p.shape).astype(p.dtype) for p in session.inputs}
    return lambda: sum(operator.ns for operator in session.profile(feeds)) * 1e-9


def _burst(run: Callable[[], float]) -> list[float]:
    run()  # others have had the caches
    times, end = [run()], time.monotonic() + BURST_SECONDS
    while time.monotonic() < end:
        times.append(run())
    return times


def _turn(times: Sequence[float]) -> Turn:
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return Turn(middle, (low, high), min(times), len(times))


def model_turns(
    models: Sequence[Model], costs: Costs | None = None, rounds: int = ROUNDS, most: float = MOST_SECONDS
) -> list[Turn]:
    """The same of models, compiled for this machine."""
    with temporary_folder("secateur-turns-") as folder:
        paths = [folder / f"{number}.so" for number in range(len(models))]
        for model, path in zip(models, paths, strict=True):
            secateur.compile(model, path, target="host", costs=costs)
        return turns(paths, rounds, most)


def share(before: Model, after: Model, costs: Costs | None = None) -> float:
    """The time of one model as a share of another's."""
    whole, pruned = model_turns([before, after], costs)
    return pruned.median / whole.median
