"""Whole networks in int8: every engine quantizes the same network from the same inputs in its own way.

A peer with several ways runs them all in a heat; those near its fastest go on to the final. Secateur takes
part in two modes: `accurate`, no further from the float network than any variant near the fastest, and
`fast`, where every layer keeps LAYER_SQNR.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from secateur.tools.bench.contest import MIN_ROUNDS, Contest, Entry
from secateur.tools.bench.data import Inputs
from secateur.tools.bench.peers import Floats, Int8, engine
from secateur.tools.bench.report import OURS, REFERENCE, Row, Timing
from secateur.tools.bench.worker import Worker

MODES = ("accurate", "fast")
MARGIN = 0.5  # dB: limits are kept on the calibration inputs, and engines compared on others
NEAR = 1.3  # a variant slower than its engine's fastest by more than this leaves after the heat


def sqnr(got: Floats, expected: Floats) -> float:
    """10 log10(sum expected² / sum (got - expected)²), in dB; -inf where a value is not finite."""
    if got.shape != expected.shape or not np.isfinite(got).all():
        return float("-inf")
    error = np.square(got.astype(np.float64) - expected).sum()
    power = np.square(expected.astype(np.float64)).sum()
    return float(10 * np.log10(power / error)) if error else float("inf")


def measure(
    model: str, path: Path, inputs: Inputs, threads: int, peers: list[str], rounds: int, budget: float
) -> list[Row]:
    """One row for each mode of Secateur, the peers' timings shared. See `Contest.rounds` for the limits."""
    with ExitStack() as stack:
        expected = _float_outputs(path, threads, inputs)
        contest = Contest(path, threads, stack)
        for name in peers:
            for variant in engine(name).variants or ("",):
                contest.enter(Entry(name, Int8(inputs.calibration, variant)))
        heat = _heat(contest, inputs, expected)
        target = rivals_sqnr(heat)
        for mode in MODES:
            wanted = target + MARGIN if mode == "accurate" and target is not None else None
            contest.enter(Entry(OURS, Int8(inputs.calibration, mode, wanted)))
        timings = _run(contest, inputs, expected, rounds, budget)
    best = tuple(_best(name, timings) for name in peers)
    return [Row(model, threads, (t, *best), t.variant, heat) for t in timings if t.engine == OURS]


def _float_outputs(path: Path, threads: int, inputs: Inputs) -> Floats:
    with ExitStack() as stack:
        contest = Contest(path, threads, stack)
        contest.enter(Entry(REFERENCE))
        outputs = contest.turn(lambda worker: _outputs(worker, inputs))
    return next(iter(outputs.values()))


def _outputs(worker: Worker, inputs: Inputs) -> Floats:
    return np.concatenate([worker.output(x) for x in inputs.held_out])


def _heat(contest: Contest, inputs: Inputs, expected: Floats) -> tuple[Timing, ...]:
    """Times of all variants, of which those near the fastest of their engine stay in the contest."""
    timings = _run(contest, inputs, expected, MIN_ROUNDS, 0.0)
    for timing in timings:
        if timing.median is not None and timing.median > NEAR * _speed(_best(timing.engine, timings)):
            contest.leave(timing.engine, timing.variant)
    return tuple(timings)


def rivals_sqnr(heat: tuple[Timing, ...]) -> float | None:
    """The best SQNR of all that may turn out the fastest in the end."""
    limit = NEAR * min(map(_speed, heat), default=0.0)
    return max((t.sqnr for t in heat if _speed(t) <= limit and t.sqnr is not None), default=None)


def _run(contest: Contest, inputs: Inputs, expected: Floats, rounds: int, budget: float) -> list[Timing]:
    """Times of the engines in the contest, with reasons for those that are out, in the order of entry."""
    distances = {e: sqnr(y, expected) for e, y in contest.turn(lambda w: _outputs(w, inputs)).items()}
    samples = contest.rounds(rounds, budget)
    return [replace(t, sqnr=distances.get(e)) for e, t in contest.timings(samples).items()]


def _best(name: str, timings: list[Timing]) -> Timing:
    """The fastest variant of the engine called `name`."""
    return min((t for t in timings if t.engine == name), key=_speed)


def _speed(timing: Timing) -> float:
    return float("inf") if timing.median is None else timing.median
