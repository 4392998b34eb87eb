"""`make bench-arm`: instructions that networks execute on ARM cores, beside other engines' and the bars.

Networks are compiled for a core and run under qemu-user, where a plugin counts what they execute: exact and
repeatable on any machine. Counts are not times: they say nothing of caches and stalls (`make cost-check`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import onnx
import typer

from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import write_whole
from secateur.tools.bench import data, models
from secateur.tools.bench.arm.builds import CORES, PRECISIONS, Counted, Sample, build, distance, run, samples
from secateur.tools.bench.arm.report import Row, as_data, classes_table, counts_table, layers_table

NETWORKS = ("resnet20", "squeezenet1.1", "mobilenet-v2", "resnet18")
"""Unless others are asked for; vgg16 has counts of peers too, and takes long."""


def rows_of(
    network: str, cores: Sequence[str], precisions: Sequence[str], images: int, folder: Path
) -> Iterator[Row]:
    """Rows of a network: core by core, in every precision. SecateurError for what fails."""
    path = data.network(network, folder)
    sample, macs = samples(network, path, images), models.macs(onnx.load(path))
    for core in cores:
        reference: Counted | None = None
        for precision in filter(CORES[core].computes_in, precisions):
            counted = _counted(path, core, precision, sample, folder)
            sqnr = None if reference is None else distance(counted, reference)
            reference = counted if precision == "fp32" else reference
            yield Row(network, core, precision, macs, counted, sqnr)


def _counted(path: Path, core: str, precision: str, sample: Sample, folder: Path) -> Counted:
    if sys.stderr.isatty():
        print(f"{path.stem} for {core} in {precision} …", file=sys.stderr)
    return run(build(path, CORES[core], precision, sample, folder), CORES[core], sample)


def _chosen(text: str, known: Sequence[str], what: str) -> list[str]:
    """The names in `text`, in the order of those known."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"unknown {what} '{name}'; known: {', '.join(known)}")
    return [name for name in known if name in names]


def main(
    networks: Annotated[str, typer.Option(help="Networks of the benchmark, with commas.")] = ",".join(
        NETWORKS
    ),
    cores: Annotated[str, typer.Option(help="Cores, with commas.")] = ",".join(CORES),
    precisions: Annotated[
        str, typer.Option(help="With commas; SQNR is against fp32, where that is among them.")
    ] = ",".join(PRECISIONS),
    by_layer: Annotated[
        bool, typer.Option("--by-layer", help="Also which operator executes how many.")
    ] = False,
    images: Annotated[int, typer.Option(min=1, max=32, help="Images that int8 is calibrated on.")] = 8,
    out: Annotated[Path, typer.Option(help="Folder of models, artifacts and the result.")] = Path(
        "build/bench-arm"
    ),
) -> None:
    """Count the instructions of networks on ARM cores."""
    known = [name for name in data.names() if name in models.names()]
    chosen = _chosen(networks, known, "network"), _chosen(cores, [*CORES], "core")
    kinds = _chosen(precisions, [*PRECISIONS], "precision")
    out.mkdir(parents=True, exist_ok=True)
    rows = list[Row]()
    try:
        for name in chosen[0]:
            for row in rows_of(name, chosen[1], kinds, images, out):
                rows.append(row)
                if by_layer:
                    print(layers_table(row), end="\n\n", flush=True)
                write_whole(out / "arm.json", (json.dumps([*map(as_data, rows)], indent=1) + "\n").encode())
    except SecateurError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(counts_table(rows), classes_table(rows), sep="\n\n")


if __name__ == "__main__":
    typer.run(main)
