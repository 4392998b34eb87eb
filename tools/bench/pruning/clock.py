"""Networks timed side by side on this machine, and pruned until they are as fast as asked.

They run in one thread, whose time on the processor is taken: what else the machine does is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import thread_time

import secateur
from secateur.runtime.session import Session

from . import fashion
from .ask import Ask, Make

ROUNDS, RUNS = 100, 20
TRIES = 6
NEAR = 1.05
"""Times faster than asked, at which no slower network is looked for."""


def times_faster(model: Path, whole: Path) -> float:
    """The median time of the whole network over that of the model, turn by turn."""
    with TemporaryDirectory() as folder:
        sessions = [_compiled(path, Path(folder) / f"{i}.so") for i, path in enumerate((model, whole))]
        ours, theirs = _medians(sessions)
    return theirs / ours


def _compiled(model: Path, artifact: Path) -> Session:
    secateur.compile(model, artifact, "host")
    return secateur.load(artifact)


def _medians(sessions: Sequence[Session]) -> list[float]:
    image = fashion.test().images[:1].numpy()
    feeds = [{s.inputs[0].name: image} for s in sessions]
    taken: list[list[float]] = [[] for _ in sessions]
    for _ in range(ROUNDS):
        for session, feed, times in zip(sessions, feeds, taken, strict=True):
            start = thread_time()
            for _ in range(RUNS):
                session.run(feed)
            times.append((thread_time() - start) / RUNS)
    return [median(times) for times in taken]


def made_as_fast(make: Make, model: Path, faster: float, costs: Path | None, output: Path) -> float:
    """Prunes the model until it is as many times faster by the clock; how many times it is.

    What is asked of the method follows what was measured. ValueError where no try is fast enough.
    """
    share, best = 1 / faster, float("inf")
    draft = output.with_suffix(".try.onnx")
    for _ in range(TRIES):
        make(model, Ask(share, "time", costs=costs), draft)
        measured = times_faster(draft, model)
        if faster <= measured < best:
            best = measured
            draft.replace(output)
        if faster <= measured <= faster * NEAR:
            break
        share *= measured / faster / (1 if measured > faster else 1.01)
    draft.unlink(missing_ok=True)
    if best == float("inf"):
        raise ValueError(f"no network of {TRIES} was {faster:g} times faster")
    return best
