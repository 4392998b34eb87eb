"""The selector's plans against greedy choice and the best single primitive, timed on this machine.

    python -m secateur.tools.bench.selection [--models alexnet,...] [--rounds 20] [--out build/bench]

Primitives are chosen by measured times (minutes at first; kept in the cache), without a limit on memory, at
the least arena possible, and between. Every plan is compiled; the artifacts of a network take turns of a few
runs on one thread, float32, batch 1, and medians are compared.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from secateur.ir.choice import CostTable
from secateur.ir.graph import Graph
from secateur.passes.framework.manager import PassManager
from secateur.runtime.session import Session
from secateur.tools.bench import models
from secateur.tools.bench.contest import BURST_RUNS, BURST_SECONDS, MIN_ROUNDS
from secateur.tools.bench.networks import sample_input
from secateur.tools.bench.peers import Floats
from secateur.tools.bench.peers.base import Runner
from secateur.tools.bench.plans import CHOSEN, GREEDY, SINGLE, Contender, Plans
from secateur.tools.bench.report import Timing, cpu_model, relative_error, summarize, write
from secateur.tools.bench.worker import Sample, burst

DEFAULT_MODELS = ("squeezenet1.1", "alexnet", "googlenet", "resnet50", "vgg16")
KINDS = (CHOSEN, GREEDY, SINGLE)
MORE_TIME = 1.15  # the time that less memory may cost in TASO's headline


@dataclass(frozen=True)
class Result:
    """A contender and its times in ms; `timing` is None where there is no plan within the limit."""

    contender: Contender
    timing: Timing | None = None

    @property
    def ms(self) -> float | None:
        return self.timing.median if self.timing else None

    @property
    def best(self) -> float | None:
        return self.timing.best if self.timing else None


@dataclass(frozen=True)
class Row:
    """The contenders on a network within `limit` bytes of arena."""

    limit: int | None
    results: tuple[Result, ...]

    def result(self, kind: str) -> Result:
        return next(r for r in self.results if r.contender.kind == kind)

    def ratio(self, kind: str) -> float | None:
        """A contender's measured time over that of the selector's plan."""
        ours, other = self.result(CHOSEN).ms, self.result(kind).ms
        return other / ours if ours and other else None

    def best_ratio(self, kind: str) -> float | None:
        """The same of the fastest runs, which other programs on the machine disturbed least."""
        ours, other = self.result(CHOSEN).best, self.result(kind).best
        return other / ours if ours and other else None


@dataclass(frozen=True)
class Network:
    """A model's rows; by the cost table, (bytes, seconds) of its frontier and seconds of `Plans.alone`."""

    model: str
    rows: tuple[Row, ...]
    frontier: tuple[tuple[int, float], ...]
    alone: dict[str, float]


# ---- measuring


def measure(
    model: str, path: Path, costs: CostTable, folder: Path, between: int, rounds: int, budget: float
) -> Network:
    """A row for each limit. Artifacts lie in `folder` meanwhile; for the rest see `take_turns`."""
    plans = Plans(fused(path), costs)
    found = {limit: plans.at(limit) for limit in plans.limits(between)}
    distinct = list(dict.fromkeys(c.plan for row in found.values() for c in row if c.plan is not None))
    with ExitStack() as stack:
        runners = [_artifact(plans.selected(p), folder / f"{i}.so", stack) for i, p in enumerate(distinct)]
        timings = dict(zip(distinct, timed(runners, sample_input(path), rounds, budget), strict=True))
    rows = (
        Row(limit, tuple(Result(c, timings[c.plan] if c.plan is not None else None) for c in row))
        for limit, row in found.items()
    )
    return Network(model, tuple(rows), tuple((p.arena, p.seconds) for p in plans.frontier), plans.alone)


def fused(path: Path) -> Graph:
    """A model as the default pipeline hands it to `select`."""
    from secateur.codegen.targets.host import host
    from secateur.model import read
    from secateur.prepare import prepare

    return PassManager(prepare("canonicalize,fuse", host())).run(read(path)).graph


class _Loaded:
    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, x: Floats) -> Floats:
        (output,) = self._session.run({self._session.inputs[0].name: x}).values()
        return np.asarray(output)


def _artifact(selected: Graph, path: Path, stack: ExitStack) -> Runner:
    """The plan as an artifact at `path`, which goes when the stack is left."""
    import secateur

    path.parent.mkdir(parents=True, exist_ok=True)
    stack.callback(path.unlink, missing_ok=True)
    secateur.compile(selected, path, target="host", pipeline="layout,memory")
    return _Loaded(stack.enter_context(secateur.load(path)))


def timed(runners: Sequence[Runner], x: Floats, rounds: int, budget: float) -> list[Timing]:
    """The runners' times, and the errors of their outputs against those of the first."""
    outputs = [runner.run(x) for runner in runners]
    samples = take_turns(runners, x, rounds, budget)
    timings = [summarize("secateur", taken) for taken in samples]
    return [replace(t, error=relative_error(y, outputs[0])) for t, y in zip(timings, outputs, strict=True)]


def take_turns(runners: Sequence[Runner], x: Floats, rounds: int, budget: float) -> list[list[Sample]]:
    """Times of each runner in `rounds` turns, fewer where `budget` seconds are spent, but MIN_ROUNDS."""
    samples: list[list[Sample]] = [[] for _ in runners]
    start = time.monotonic()
    for done in range(rounds):
        if done >= MIN_ROUNDS and time.monotonic() - start > budget:
            break
        for runner, taken in zip(runners, samples, strict=True):
            taken += (Sample(*pair) for pair in burst(runner, x, BURST_SECONDS, BURST_RUNS))
    return samples


# ---- report

HEADER = (
    "model",
    "limit KiB",
    *(title for kind in KINDS for title in (f"{kind} ms (predicted)", "KiB")),
    f"{GREEDY} / {CHOSEN} (best runs)",
    "primitive",
    f"{SINGLE} / {CHOSEN} (best runs)",
)


def cells(model: str, row: Row) -> list[str]:
    """One line of the table."""
    return [
        model,
        "none" if row.limit is None else kib(row.limit),
        *(cell for kind in KINDS for cell in _cells(row.result(kind))),
        _ratios(row, GREEDY),
        row.result(SINGLE).contender.family or "–",
        _ratios(row, SINGLE),
    ]


def _cells(result: Result) -> tuple[str, str]:
    if result.timing is None or result.ms is None:
        return ("–", "–")
    mark = "~" if result.timing.noisy else ""
    predicted = 1e3 * result.contender.seconds
    return (f"{result.ms:.2f}{mark} ({predicted:.2f})", kib(result.contender.arena))


def _ratios(row: Row, kind: str) -> str:
    ratio, best = row.ratio(kind), row.best_ratio(kind)
    return "–" if ratio is None or best is None else f"{ratio:.2f} ({best:.2f})"


def kib(size: int) -> str:
    return f"{size / 1024:.0f}"


def headline(network: Network) -> str:
    """What TASO's headline is about: the gain over greedy, and memory for a little more time; and why."""
    parts = (_gain(network.rows), _saving(network.rows), _frontier(network), _alone(network))
    return f"{network.model}: {'; '.join(parts)}"


def _gain(rows: Iterable[Row]) -> str:
    """Of the limits at which greedy choice finds a plan the one at which the selector gains most."""
    ratios = [(ratio, row) for row in rows if (ratio := row.best_ratio(GREEDY)) is not None]
    if not ratios:
        return "greedy choice found no plan"
    best, row = max(ratios, key=lambda pair: pair[0])
    where = "without a limit" if row.limit is None else f"at {kib(row.limit)} KiB"
    return f"best runs at most {best:.2f} times as fast as of greedy choice ({where})"


def _saving(rows: Sequence[Row]) -> str:
    """Of the selector's plans that take little more time than the fastest the one of least memory."""
    plans = [(row.result(CHOSEN).best or float("inf"), row.result(CHOSEN).contender.arena) for row in rows]
    least, most = min(plans)
    ms, lean = min((plan for plan in plans if plan[0] <= MORE_TIME * least), key=lambda plan: plan[1])
    return f"{most / lean:.2f} times less memory for {ms / least - 1:.0%} more time"


def _frontier(network: Network) -> str:
    (lean, slow), (large, fast) = network.frontier[0], network.frontier[-1]
    count = len(network.frontier)
    if count == 1:
        return f"one plan on the frontier, {kib(lean)} KiB"
    memory, times = f"{kib(lean)} to {kib(large)} KiB", f"{1e3 * slow:.2f} to {1e3 * fast:.2f} ms"
    return f"{count} plans on the frontier, predicted {memory}, {times}"


def _alone(network: Network) -> str:
    least = network.frontier[-1][1]
    ratios = (f"{family} {s / least:.2f}" for family, s in network.alone.items())
    return f"predicted with one primitive wherever it fits: {', '.join(ratios)} times the chosen plan"


LEGEND = (
    "Medians in ms on one thread, float32, batch 1, in parentheses what the cost table says; KiB of arena as "
    "placed; greedy: each operator's fastest primitive that fits; single: one primitive wherever it fits, "
    "the best such; –: no plan within the limit; ~: an interquartile range above 10% of the median. "
    "Medians are of runs that did not wait for a processor where there are enough; the fastest "
    "say more where other programs share the machine."
)


def _lines(networks: Iterable[Network]) -> list[list[str]]:
    return [cells(network.model, row) for network in networks for row in network.rows]


def as_markdown(networks: Sequence[Network]) -> str:
    lines = [HEADER, ["---", *["---:"] * (len(HEADER) - 1)], *_lines(networks)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = "\n".join(f"* {headline(network)}" for network in networks)
    return "\n\n".join([LEGEND, cpu_model(), table, notes]) + "\n"


def as_json(networks: Sequence[Network]) -> str:
    return json.dumps({"cpu": cpu_model(), "results": [asdict(n) for n in networks]}, indent=1) + "\n"


def as_table(networks: Sequence[Network]) -> Table:
    table = Table(caption=LEGEND)
    for title in HEADER:
        table.add_column(title, justify="right")
    for line in _lines(networks):
        table.add_row(*line)
    return table


# ---- command line


def chosen(text: str) -> list[str]:
    """The models named in `text`, comma separated; BadParameter names the known ones."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in models.names()]
    if unknown:
        raise typer.BadParameter(f"unknown model '{unknown[0]}'; known: {', '.join(models.names())}")
    return words or list(DEFAULT_MODELS)


def main(
    model_list: Annotated[str, typer.Option("--models", help="Models, comma separated.")] = "",
    between: Annotated[int, typer.Option(min=0, help="Limits between none and the least possible.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds in which every plan has one turn.")] = 20,
    budget: Annotated[float, typer.Option(min=0, help="Seconds after which a network stops early.")] = 120.0,
    out: Annotated[Path, typer.Option(help="Folder of the tables; models are cached in it.")] = Path(
        "build/bench"
    ),
) -> None:
    """Compare the selector's plans with simpler choices on this machine."""
    names = chosen(model_list)
    networks: list[Network] = []
    for name in names:
        if sys.stderr.isatty():
            Console(stderr=True).print(f"{name} …")
        path = models.save(name, out / "models")
        costs = _measured_costs(path)
        networks.append(measure(name, path, costs, out / "selection", between, rounds, budget))
        write(out / "selection.md", as_markdown(networks))
        write(out / "selection.json", as_json(networks))
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(as_table(networks))
    for network in networks:
        console.print(headline(network), markup=False, soft_wrap=True)
    console.print(f"Written: {out / 'selection.md'}, {out / 'selection.json'}", soft_wrap=True)


def _measured_costs(path: Path) -> CostTable:
    """Those that `secateur profile` measures."""
    from secateur.codegen.targets.host import host
    from secateur.costs.measured import TableCosts
    from secateur.costs.network import measured_table, profiled
    from secateur.ir.support.progress import silent
    from secateur.model import read

    return TableCosts(measured_table(profiled(read(path), host()), silent), host())


if __name__ == "__main__":
    typer.run(main)
