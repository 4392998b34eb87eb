"""`make bench`: Secateur against its peers, whole networks at batch 1, in float32 or int8.

Engines take turns in rounds, so that a slow minute of the machine hits all alike; medians over all
rounds are compared. The result is a table on the terminal, and Markdown and JSON in the output folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import typer
from rich.console import Console
from rich.markup import escape

from secateur.tools.bench import data as bench_data
from secateur.tools.bench import int8 as bench_int8
from secateur.tools.bench.contest import Contest, Entry
from secateur.tools.bench.peers import PEERS, Floats
from secateur.tools.bench.report import (
    OURS,
    REFERENCE,
    Row,
    as_json,
    as_markdown,
    as_table,
    machine,
    notes,
    relative_error,
    write,
)

DEFAULT_MODELS = (
    "resnet18", "resnet34", "resnet50", "vgg16", "googlenet", "squeezenet1.1", "alexnet", "mobilenet-v2"
)  # fmt: skip
PRECISIONS = ("fp32", "int8")


def measure(model: str, path: Path, threads: int, engines: list[str], rounds: int, budget: float) -> Row:
    """Times `engines` on the file `path` in interleaved rounds. See `Contest.rounds` for the limits."""
    x = sample_input(path)
    with ExitStack() as stack:
        contest = Contest(path, threads, stack)
        for name in engines:
            contest.enter(Entry(name))
        outputs = contest.turn(lambda worker: worker.output(x))
        timings = contest.timings(contest.rounds(rounds, budget))
    reference = outputs.get(Entry(REFERENCE))
    if reference is not None:
        for entry in timings.keys() & outputs.keys():
            timings[entry] = replace(timings[entry], error=relative_error(outputs[entry], reference))
    return Row(model, threads, tuple(timings[Entry(name)] for name in engines))


def sample_input(path: Path) -> Floats:
    """Standard normal values of the model's input shape, the same at every call."""
    dims = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    return np.random.default_rng(0).standard_normal([d.dim_value for d in dims], np.float32)


def _contests(
    kind: str, name: str, path: Path, threads: list[int], engines: list[str], rounds: int, budget: float
) -> Iterator[list[Row]]:
    """Rows of one network, for one number of threads after another."""
    inputs = bench_data.inputs(name, path) if kind == "int8" else None
    for count in threads:
        if sys.stderr.isatty():
            Console(stderr=True).print(f"{name}, {count} thread{'s' * (count > 1)} …")
        if inputs is None:
            yield [measure(name, path, count, engines, rounds, budget)]
        else:
            yield bench_int8.measure(name, path, inputs, count, engines[1:], rounds, budget)


# ---- command line


def _defaults(kind: str) -> tuple[str, ...]:
    trained = bench_data.TRAINED in bench_data.names() and kind == "int8"
    return (*DEFAULT_MODELS, bench_data.TRAINED) if trained else DEFAULT_MODELS


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
    precision: Annotated[str, typer.Option(help="fp32 or int8.")] = "fp32",
    model_list: Annotated[str, typer.Option("--models", help="Models, comma separated.")] = "",
    thread_list: Annotated[str, typer.Option("--threads", help="Thread counts, comma separated.")] = "1,2",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which every engine has one turn.")] = 20,
    budget: Annotated[float, typer.Option(min=0, help="Seconds after which a row stops early.")] = 40.0,
    peers: Annotated[str, typer.Option(help="Peers, comma separated.")] = ",".join(PEERS),
    out: Annotated[Path, typer.Option(help="Folder of the tables; models are cached in it.")] = Path(
        "build/bench"
    ),
) -> None:
    """Compare Secateur with its peers on whole networks."""
    (kind,) = _listed(precision, PRECISIONS, "precision")
    chosen = _listed(model_list or ",".join(_defaults(kind)), bench_data.names(), "model")
    threads = _thread_counts(thread_list)
    engines = [OURS, *_listed(peers, PEERS, "peer")]
    console = Console(width=None if sys.stdout.isatty() else 140)
    about = machine(engines)
    out.mkdir(parents=True, exist_ok=True)
    stem = "peers" if kind == "fp32" else f"peers-{kind}"
    rows: list[Row] = []
    for name in chosen:
        path = bench_data.network(name, out / "models")
        for found in _contests(kind, name, path, threads, engines, rounds, budget):
            rows += found
            write(out / f"{stem}.md", as_markdown(rows, engines, about))
            write(out / f"{stem}.json", as_json(rows, about))
    console.print(as_table(rows, engines))
    for note in notes(rows):
        console.print(escape(note))
    console.print(f"Written: {out / stem}.md, {out / stem}.json", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
