"""The comparison, row by row; rows that are in the results already are not measured again.

    python -m secateur.tools.bench.pruning [--less 2.1] [--faster 2] [--epochs 3] [--seeds 3]

Each method prunes the ResNet-20 of `examples/fashion` to as many times fewer multiplications, or until it is
as many times faster on this machine; what is left is judged as it is, and trained on. Accuracy is that on the
10,000 test images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import secateur
from secateur.ir.onnx_writer import to_onnx
from secateur.ir.support.atomic import write_whole
from secateur.tools.bench.report import machine

from . import fashion
from .ask import Ask, Measure, macs
from .clock import made_as_fast, times_faster
from .learning import judged, judged_in_8_bits, trained
from .methods import METHODS, Method
from .rows import CLOCK, UNPRUNED, Row, as_markdown


@dataclass(frozen=True)
class Task:
    """One row that is wanted."""

    method: Method
    measure: Measure
    less: float
    epochs: int
    seed: int

    @property
    def row(self) -> Row:
        """Without what is measured."""
        return Row(self.method.name, self.measure, self.less, self.epochs, self.seed, 0.0, 0)


class Comparison:
    """Rows that were measured, and the folder that they, the models and the checkpoints lie in."""

    def __init__(self, folder: Path, costs: Path | None) -> None:
        self.folder, self.file, self.costs = folder, folder / "pruning.json", costs
        for name in ("models", "trained"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        known = json.loads(self.file.read_text())["rows"] if self.file.exists() else []
        self.rows = [row for row in (Row(**row) for row in known) if _still_holds(row)]

    def time_again(self) -> None:
        """Rows whose time another clock told are timed again, where their network is still there."""
        for number, row in enumerate(self.rows):
            network = self._network(row)
            if row.clock != CLOCK and network.exists():
                faster = times_faster(network, fashion.MODEL, self.costs)
                self.rows[number] = replace(row, faster=faster, clock=CLOCK)
                self._write()

    def measure(self, task: Task) -> Row | None:
        """The row of a task, added to the results; None where it is known."""
        if task.row.key in {row.key for row in self.rows}:
            return None
        model = self._pruned(task)
        found = self._trained(task, model) if task.epochs else model
        self._add(self._measured(task.row, found, in_8_bits=task.epochs > 0))
        return self.rows[-1]

    def measure_unpruned(self) -> None:
        """The first row."""
        if not self.rows:
            row = Row(UNPRUNED, "macs", 1.0, 0, 0, 0.0, 0)
            self._add(self._measured(row, fashion.MODEL, in_8_bits=True))

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self._write()

    def _write(self) -> None:
        results = {"machine": machine([]), "rows": [asdict(row) for row in self.rows]}
        write_whole(self.file, (json.dumps(results, indent=1) + "\n").encode())
        write_whole(self.folder / "pruning.md", as_markdown(self.rows).encode())

    def _pruned(self, task: Task) -> Path:
        """The method's network; it is made once for all seeds."""
        model = self._network(replace(task.row, epochs=0))
        if not model.exists():
            draft = model.with_suffix(".part")
            if task.measure == "time":
                made_as_fast(task.method.make, fashion.MODEL, task.less, self.costs, draft)
            else:
                task.method.make(fashion.MODEL, Ask(1 / task.less, "macs", costs=self.costs), draft)
            draft.replace(model)
        return model

    def _trained(self, task: Task, model: Path) -> Path:
        found = self._network(task.row)
        graph = trained(task.method, model, task.epochs, task.seed, found.with_suffix(".pt"))
        write_whole(found, to_onnx(graph).SerializeToString())
        return found

    def _measured(self, row: Row, model: Path, in_8_bits: bool) -> Row:
        graph = secateur.read(model)
        return replace(
            row,
            accuracy=judged(graph),
            macs=macs(graph),
            faster=times_faster(model, fashion.MODEL, self.costs),
            clock=CLOCK,
            int8=judged_in_8_bits(graph) if in_8_bits else None,
        )

    def _network(self, row: Row) -> Path:
        """The file of the row's network; what one clock found lies apart from what another did."""
        if row.method == UNPRUNED:
            return fashion.MODEL
        by = row.measure if row.measure == "macs" else f"clock{CLOCK}"
        name = f"{row.method} {by} {row.less:g}" + (f" {row.epochs} {row.seed}" if row.epochs else "")
        file = "".join(c for c in name.replace(" ", "-") if c not in ",()") + ".onnx"
        return self.folder / ("trained" if row.epochs else "models") / file


def _still_holds(row: Row) -> bool:
    """Whether a row that was kept is what would be measured now; one that another clock chose is not."""
    return row.measure != "time" or row.clock == CLOCK


def _tasks(
    asked: list[tuple[Measure, float]], epochs: int, seeds: int, named: frozenset[str]
) -> Iterator[Task]:
    """Without training; then seed by seed, so that what is interrupted has compared the most it could."""
    chosen = [m for m in METHODS if not named or m.name in named]
    for measure, factor in asked:
        yield from (Task(m, measure, factor, 0, 0) for m in chosen if not m.learns)
    for seed in range(seeds if epochs else 0):
        for measure, factor in asked:
            yield from (Task(m, measure, factor, epochs, seed) for m in chosen if not m.untrained)


def main(
    less: Annotated[str, typer.Option(help="Times fewer multiplications, comma separated.")] = "2.1",
    faster: Annotated[str, typer.Option(help="Times faster by this machine's clock, comma separated.")] = "2",
    epochs: Annotated[int, typer.Option(min=0, help="Epochs that the pruned network is trained on.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row.")] = 3,
    method: Annotated[list[str] | None, typer.Option(help="A method, by its row; default: all.")] = None,
    costs: Annotated[
        Path | None, typer.Option(help="Times by `profile --prune`; default: estimates.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of models and tables.")] = Path("build/bench-prune"),
) -> None:
    """Prune a trained network by several methods, and measure accuracy."""
    asked: list[tuple[Measure, float]] = [("macs", float(factor)) for factor in less.split(",") if factor]
    asked += [("time", float(factor)) for factor in faster.split(",") if factor]
    console, comparison = Console(), Comparison(out, costs)
    comparison.time_again()
    comparison.measure_unpruned()
    for task in _tasks(asked, epochs, seeds, frozenset(method or ())):
        if (row := comparison.measure(task)) is not None:
            console.print(f"{row.key}: {row.accuracy:.2%}", soft_wrap=True)
    console.print(as_markdown(comparison.rows), soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
