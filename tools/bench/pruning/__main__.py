"""The comparison, row by row; rows that are in the results already are not measured again.

    python -m secateur.tools.bench.pruning [--less 1.5,2.1] [--epochs 0] [--seeds 1] [--target host]

Each method prunes the ResNet-20 of `examples/fashion` to as many times fewer multiplications; with `--epochs`
what is left is trained on. Accuracy is that on the 10,000 test images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated

import typer
from rich.console import Console

import secateur
from secateur.ir.support.atomic import write_whole
from secateur.tools.bench.report import machine
from secateur.train.loop import Training, accuracy
from secateur.train.network import Network
from secateur.train.recipe import Recipe

from . import fashion
from .methods import METHODS, Method, macs

UNPRUNED = "unpruned"


@dataclass(frozen=True)
class Row:
    """One network: shares of 1, and multiply-accumulates."""

    method: str
    less: float
    epochs: int
    seed: int
    accuracy: float
    macs: int

    @property
    def key(self) -> str:
        return f"{self.method}/{self.less:g}/{self.epochs}/{self.seed}"


def main(
    less: Annotated[str, typer.Option(help="Times fewer multiplications, comma separated.")] = "1.5,2.1",
    epochs: Annotated[int, typer.Option(min=0, help="Epochs that the pruned network is trained on.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row.")] = 1,
    target: Annotated[str, typer.Option(help="For which ours chooses.")] = "host",
    out: Annotated[Path, typer.Option(help="Folder of models and tables.")] = Path("build/bench-prune"),
) -> None:
    """Prune a trained network by several methods, and measure accuracy."""
    console, file = Console(), out / "pruning.json"
    (out / "models").mkdir(parents=True, exist_ok=True)
    rows = [Row(**row) for row in json.loads(file.read_text())["rows"]] if file.exists() else []
    known = {row.key for row in rows}
    wanted = [
        (m, float(f), s) for f in less.split(",") for m in METHODS for s in range(seeds if epochs else 1)
    ]
    if f"{UNPRUNED}/1/0/0" not in known:
        rows.append(_measured(UNPRUNED, fashion.MODEL, 1.0, 0, 0))
    for method, factor, seed in wanted:
        if Row(method.name, factor, epochs, seed, 0, 0).key in known:
            continue
        model = out / "models" / f"{method.name}-{factor:g}.onnx".replace(" ", "-").replace(",", "")
        if not model.exists():
            _make(method, factor, model, target)
        rows.append(_measured(method.name, model, factor, epochs, seed))
        console.print(f"{rows[-1].key}: {rows[-1].accuracy:.2%}", soft_wrap=True)
        results = {"machine": machine([]), "target": target, "rows": [asdict(row) for row in rows]}
        write_whole(file, (json.dumps(results, indent=1) + "\n").encode())
    write_whole(out / "pruning.md", as_markdown(rows).encode())
    console.print(as_markdown(rows), soft_wrap=True)


def _make(method: Method, factor: float, model: Path, target: str) -> None:
    draft = model.with_suffix(".part")
    method.make(fashion.MODEL, 1 / factor, draft, target)
    draft.replace(model)


def _measured(name: str, model: Path, factor: float, epochs: int, seed: int) -> Row:
    graph = secateur.read(model)
    network = Network(graph)
    if epochs:
        recipe = Recipe(epochs=epochs, seed=seed)
        Training(fashion.training(), recipe, augment=fashion.augmentation()).fit(network)
    return Row(name, factor, epochs, seed, accuracy(network, fashion.test()), macs(graph))


def as_markdown(rows: list[Row]) -> str:
    """A line for each method and factor: the mean accuracy over seeds, and what it lost."""
    whole = next(row for row in rows if row.method == UNPRUNED)
    lines = ["| method | fewer MACs | epochs | accuracy | lost |", "| --- | --- | --- | --- | --- |"]
    for (method, factor, epochs), found in _grouped(rows).items():
        share = mean(row.accuracy for row in found)
        times = whole.macs / found[0].macs
        of = f" ({len(found)} seeds)" if len(found) > 1 else ""
        lines.append(
            f"| {method}{of} | {times:.2f}x | {epochs} | {share:.2%} | {100 * (whole.accuracy - share):.2f} |"
        )
        assert factor <= times * 1.001, "every method keeps the limit"
    return "\n".join(lines) + "\n"


def _grouped(rows: list[Row]) -> Mapping[tuple[str, float, int], list[Row]]:
    found: dict[tuple[str, float, int], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.less, row.epochs)):
        found.setdefault((row.method, row.less, row.epochs), []).append(row)
    return found


if __name__ == "__main__":
    typer.run(main)
