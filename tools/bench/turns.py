"""Times of several artifacts that take turns on this machine, on one thread, so that they compare.

    share("model.onnx", "pruned.onnx")     # the pruned network's time, compiled, as a share of the other's

Time is counted by the artifact's own clock, operator by operator: a call from Python takes 30 us more, a
tenth of a small network. `quiet` is what compares on a machine that does other work too: of each operator the
fastest run, since a run is only ever disturbed to be slower. Where medians differed by 10 % from one
measurement to the next, it stayed within 0.5 %.
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


Times = Sequence[float]
"""Of one run: the seconds of each operator."""


@dataclass(frozen=True)
class Turn:
    """An artifact's runs in seconds: the median, the quartiles, the fastest, and each operator's fastest."""

    median: float
    quartiles: tuple[float, float]
    best: float
    quiet: float
    runs: int


def turns(artifacts: Sequence[Path], rounds: int = ROUNDS, most: float = MOST_SECONDS) -> list[Turn]:
    """The artifacts' times on seeded noise. Each turn begins with a run that is not counted."""
    with ExitStack() as stack:
        runs = [_run(stack.enter_context(secateur.load(path))) for path in artifacts]
        taken: list[list[Times]] = [[] for _ in runs]
        end = time.monotonic() + most
        for done in range(rounds + 1):  # the first round warms up
            if done > MIN_ROUNDS and time.monotonic() > end:
                break
            for run, times in zip(runs, taken, strict=True):
                burst = _burst(run)
                times += burst if done else []
    return [_turn(times) for times in taken]


def _run(session: Session) -> Callable[[], Times]:
    """A function that runs it once, and gives the seconds that each of its operators took."""
    random = np.random.default_rng(0)
    feeds = {p.name: random.normal(size=p.shape).astype(p.dtype) for p in session.inputs}
    return lambda: [operator.ns * 1e-9 for operator in session.profile(feeds)]


def _burst(run: Callable[[], Times]) -> list[Times]:
    run()  # others have had the caches
    times, end = [run()], time.monotonic() + BURST_SECONDS
    while time.monotonic() < end:
        times.append(run())
    return times


def _turn(times: Sequence[Times]) -> Turn:
    whole = [sum(run) for run in times]
    low, middle, high = statistics.quantiles(whole, n=4, method="inclusive")
    quiet = sum(min(runs) for runs in zip(*times, strict=True))
    return Turn(middle, (low, high), min(whole), quiet, len(whole))


def model_turns(
    models: Sequence[Model],
    costs: Costs | None = None,
    rounds: int = ROUNDS,
    target: str = "host",
) -> list[Turn]:
    """The same of models, compiled for this machine, or for a target that runs on it."""
    with temporary_folder("secateur-turns-") as folder:
        paths = [folder / f"{number}.so" for number in range(len(models))]
        for model, path in zip(models, paths, strict=True):
            secateur.compile(model, path, target=target, costs=costs)
        return turns(paths, rounds)


def share(before: Model, after: Model, costs: Costs | None = None) -> float:
    """The quiet time of one model as a share of another's."""
    whole, pruned = model_turns([before, after], costs)
    return pruned.quiet / whole.quiet
