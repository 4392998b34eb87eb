"""`secateur bench`: how long an artifact takes on this machine, as a whole and operator by operator."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...progress import Progress, progress
from ...report import amount, duration, facts, node_text, print_json, size
from ...tables import table
from ..common import Json, Threads, refuse
from ..groups import spread
from ..inputs import Feed
from ..opened import check_runnable, opened
from ..source import Settled, source_kind

if TYPE_CHECKING:
    import numpy as np

    from secateur.runtime.session import Session

    from ..opened import Arrays

PERCENTILES = (("p90", 90.0), ("p99", 99.0))
PROFILED_RUNS = 20


@spread()
def bench(
    artifact: Annotated[
        Path,
        typer.Argument(
            help="A compiled model: .so, folder, tar or TFLite; or a model, compiled for this run."
        ),
    ],
    *,
    feed: Feed,
    warmup: Annotated[int, typer.Option(min=0, max=10**6, help="Runs before the clock starts.")] = 5,
    iterations: Annotated[int, typer.Option(min=1, max=10**6, help="Runs on the clock.")] = 50,
    threads: Threads = 1,
    profile: Annotated[bool, typer.Option("--profile", help="Also the time of every operator.")] = False,
    settled: Settled,
    json: Json = False,
) -> None:
    """Time an artifact on this machine. Without --input, on seeded noise. A model is compiled first."""
    check_runnable(artifact, settled, tflite=True)
    feed.check()
    arrays = feed.arrays_or_noise
    if source_kind(artifact) == "tflite":
        _bench_file(artifact, arrays, warmup, iterations, threads, profile, json)
        return
    with progress() as show, opened(artifact, threads, settled, arrays, show) as (session, inputs):
        seconds = time_session(session, inputs, warmup, iterations, show)
        macs = sum(int(row["macs"]) for row in session.manifest["operators"])
        result = {
            "artifact": str(artifact),
            "threads": threads,
            "warmup": warmup,
            "iterations": iterations,
            "macs": macs,
            "arena_bytes": session.arena_bytes,
            "load_seconds": session.load_seconds,
            "seconds": statistics(seconds),
        }
        if profile:
            result["operators"] = profile_operators(session, inputs, min(iterations, PROFILED_RUNS))
    if json:
        print_json(result)
    else:
        _print(result)


def _bench_file(
    path: Path, arrays: Arrays, warmup: int, iterations: int, threads: int, profile: bool, json: bool
) -> None:
    """Times a TFLite file in LiteRT, by the kernels that it takes by default."""
    from secateur.codegen.backends.tflite.contents import read_contents

    from ...litert import LitertSession

    if profile:
        raise refuse(f"{path}: LiteRT tells no times of a TFLite file's operators; leave --profile out")
    macs = sum(op.macs for op in read_contents(path).operators)
    with progress() as show, LitertSession(path, threads, "default") as session:
        inputs = arrays(session.inputs)
        seconds = time_runs(partial(session.run, inputs), warmup, iterations, show)
    counts = {
        "artifact": str(path),
        "threads": threads,
        "warmup": warmup,
        "iterations": iterations,
        "macs": macs,
    }
    result = {**counts, "seconds": statistics(seconds)}
    if json:
        print_json(result)
    else:
        _print(result)


def time_session(
    session: Session, inputs: Mapping[str, np.ndarray[Any, Any]], warmup: int, iterations: int, show: Progress
) -> list[float]:
    """Seconds of each timed run; outputs are written into the same arrays every time."""
    out = session.run(inputs)
    return time_runs(partial(session.run, inputs, out), warmup, iterations, show)


def time_runs(run: Callable[[], object], warmup: int, iterations: int, show: Progress) -> list[float]:
    """Seconds of each timed run."""
    for _ in range(warmup):
        run()
    seconds = []
    for done in range(iterations):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
        show("runs", done + 1, iterations)
    return seconds


def statistics(seconds: Sequence[float]) -> dict[str, float]:
    """Minimum, median, percentiles (nearest rank) and maximum."""
    ranked = sorted(seconds)

    def at(percent: float) -> float:
        return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]

    return {
        "min": ranked[0],
        "median": at(50.0),
        **{name: at(p) for name, p in PERCENTILES},
        "max": ranked[-1],
    }


def profile_operators(
    session: Session, inputs: Mapping[str, np.ndarray[Any, Any]], runs: int
) -> list[dict[str, Any]]:
    """Every operator's median time over `runs` profiled runs, in order of execution."""
    samples = [session.profile(inputs) for _ in range(runs)]
    rows = []
    for same in zip(*samples, strict=True):
        nanoseconds = sorted(sample.ns for sample in same)[len(same) // 2]
        rows.append(
            {
                "label": same[0].label,
                "operator": same[0].operator,
                "macs": same[0].macs,
                "seconds": nanoseconds / 1e9,
            }
        )
    return rows


def _print(result: Mapping[str, Any]) -> None:

    seconds = result["seconds"]
    rate = 1 / max(seconds["median"], 1e-9)
    rows = [
        ("artifact", result["artifact"]),
        ("threads", result["threads"]),
        *([("arena", size(result["arena_bytes"]))] if "arena_bytes" in result else []),
        *([("load", duration(result["load_seconds"]))] if "load_seconds" in result else []),
        ("MACs", amount(result["macs"])),
        *((name, duration(value)) for name, value in seconds.items()),
        ("speed", f"{amount(result['macs'] * rate)}MAC/s, {rate:.1f} runs/s"),
    ]
    print(facts(rows))
    if "operators" in result:
        headings, numbers = ("share", "time", "GMAC/s", "operator", "node"), ("share", "time", "GMAC/s")
        cells = _profile_rows(result["operators"])
        print("\n" + table(headings, cells, right=numbers, shorten=("node",)))


def _profile_rows(operators: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:

    total = sum(row["seconds"] for row in operators) or 1e-9
    return [
        (
            f"{row['seconds'] / total:.1%}",
            duration(row["seconds"]),
            _rate(row),
            row["operator"],
            node_text(row["label"]),
        )
        for row in operators
    ]


def _rate(row: Mapping[str, Any]) -> str:
    return f"{row['macs'] / row['seconds'] / 1e9:.1f}" if row["macs"] and row["seconds"] else "-"
