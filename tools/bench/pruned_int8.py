"""What pruning and 8 bits gain together: four networks that take turns on one thread of this machine.

    python -m secateur.tools.bench.pruned_int8 [--models fashion,resnet18] [--costs T.json] [--latency 50%]

In float and in int8: the network as it is, and pruned to a share of its time in float. Times do not depend on
weights, so seeded networks do; they are quantized on noise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

import secateur
from secateur import Int8, Pruning
from secateur.ir.support.atomic import write_whole
from secateur.passes.prune.problem import BudgetError
from secateur.tools.bench import models
from secateur.tools.bench.host_limits import has_vnni
from secateur.tools.bench.report import machine
from secateur.tools.bench.turns import Turn, turns

FASHION = Path(__file__).parents[2] / "examples" / "fashion" / "resnet20.onnx"
NETWORKS = ("float", "float, pruned", "int8", "int8, pruned")
_ROUNDED = 1.001  # times the least possible time
BAR, BAR_VNNI = 2.6, 4.0
"""Times faster than the float network that the pruned one in int8 shall be."""


@dataclass(frozen=True)
class Row:
    """A model's turns by network, and the share of its estimated time that pruning left."""

    model: str
    estimated: float
    turns: Mapping[str, Turn]

    def faster(self, network: str) -> float:
        """How many times faster than the float network."""
        return self.turns[NETWORKS[0]].quiet / self.turns[network].quiet


def measured(name: str, folder: Path, latency: str, costs: Path | None) -> Row:
    """A model's row; artifacts lie in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model, data = source(name, folder)
    pruned = folder / f"{name}.pruned.onnx"
    asked = Pruning(latency=latency, criterion="l2", repair=False)
    try:
        report = secateur.prune(model, asked, pruned, costs=costs)
    except BudgetError as error:  # few channels in long vectors, say: the nearest that can be kept
        asked = replace(asked, latency=error.nearest * _ROUNDED)
        report = secateur.prune(model, asked, pruned, costs=costs)
    artifacts = list(_compiled(model, pruned, data, folder / name, costs))
    found = dict(zip(NETWORKS, turns(artifacts), strict=True))
    return Row(name, report.after.seconds / report.before.seconds, found)


def source(name: str, folder: Path) -> tuple[Path, str]:
    """The model's file, and what to calibrate it on."""
    if name == "fashion":
        return FASHION, str(FASHION.parent / "calibration.npz")
    return models.save(name, folder), "random:4"


def _compiled(model: Path, pruned: Path, data: str, folder: Path, costs: Path | None) -> Iterator[Path]:
    """Artifacts, in the order of `NETWORKS`."""
    folder.mkdir(exist_ok=True)
    int8 = Int8(data)
    for number, (quantize, path) in enumerate(product((None, int8), (model, pruned))):
        table = costs if quantize is None else None
        output = folder / f"{number}.so"
        yield secateur.compile(path, output, target="host", quantize=quantize, costs=table).path


def text(row: Row, bar: float) -> str:
    """A line a network with its quiet time and the quartiles of its runs, and the bar."""
    lines = [f"{row.model}: pruned to {row.estimated:.0%} of its time by the cost table"]
    for network in NETWORKS:
        turn = row.turns[network]
        low, high = (f"{1e3 * q:.3f}" for q in turn.quartiles)
        lines.append(
            f"  {network:14} {1e3 * turn.quiet:9.3f} ms ({low} to {high})  {row.faster(network):.2f}x"
        )
    kept = row.faster(NETWORKS[-1]) >= bar
    return "\n".join([*lines, f"  bar: {bar:g}x, {'kept' if kept else 'missed'}"])


def main(
    which: Annotated[
        str, typer.Option("--models", help="fashion, and names of the benchmark's, with commas.")
    ] = "fashion,resnet18",
    latency: Annotated[str, typer.Option(help="The float network's time once pruned.")] = "50%",
    costs: Annotated[
        Path | None,
        typer.Option(
            help="A table of `secateur profile --prune`, of a single model, for its float networks."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of models, artifacts and the result.")] = Path(
        "build/bench-pruned-int8"
    ),
) -> None:
    """Time float and int8, whole and pruned, in turn; exit code 1 where the bar is missed."""
    bar = BAR_VNNI if has_vnni() else BAR
    rows = []
    for name in which.split(","):
        rows.append(measured(name, out, latency, costs))
        print(text(rows[-1], bar))
    found = {"machine": machine([]), "bar": bar, "rows": [asdict(row) for row in rows]}
    write_whole(out / "pruned_int8.json", (json.dumps(found, indent=1) + "\n").encode())
    if any(row.faster(NETWORKS[-1]) < bar for row in rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
