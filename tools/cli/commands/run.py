"""`secateur run`: one inference of an artifact on files or seeded noise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...progress import progress
from ...report import print_json
from ...tables import table
from ..checks import check_folder
from ..common import Json, Threads, refuse
from ..groups import spread
from ..inputs import Feed
from ..opened import check_runnable, run_of
from ..source import Settled

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

HEADINGS = ("output", "type", "min", "mean", "max", "largest at", "file")


@spread()
def run(
    artifact: Annotated[
        Path,
        typer.Argument(
            help="A compiled model: .so, folder, tar or TFLite; or a model, compiled for this run."
        ),
    ],
    *,
    feed: Feed,
    output_dir: Annotated[Path | None, typer.Option(help="Write every output there as NAME.npy.")] = None,
    threads: Threads = 1,
    settled: Settled,
    json: Json = False,
) -> None:
    """Run an artifact once and say what came out. A model is compiled for this machine first."""
    check_runnable(artifact, settled, tflite=True)
    feed.check()
    check_folder(output_dir)
    with progress() as show, run_of(artifact, threads, settled, feed.arrays, show) as outputs:
        pass
    files = write_outputs(outputs, output_dir) if output_dir else {}
    rows = [_summary(name, array) | {"file": files.get(name)} for name, array in outputs.items()]
    if json:
        print_json({"artifact": str(artifact), "outputs": rows})
        return
    cells = (list(row.values()) for row in map(_shown, rows))
    print(table(HEADINGS, cells, right=("min", "mean", "max"), shorten=("output", "file")))


def _summary(name: str, array: Array) -> dict[str, Any]:
    """What the array looks like; the numbers are None for an empty one."""
    import numpy as np

    known = array.size > 0
    return {
        "name": name,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "min": float(array.min()) if known else None,
        "mean": float(array.mean(dtype=np.float64)) if known else None,
        "max": float(array.max()) if known else None,
        "argmax": [int(i) for i in np.unravel_index(int(array.argmax()), array.shape)] if known else None,
    }


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {key: None if row[key] is None else f"{row[key]:.6g}" for key in ("min", "mean", "max")}
    return {
        "name": row["name"],
        "type": f"{row['dtype']}{row['shape']}",
        **numbers,
        "at": row["argmax"],
        "file": row["file"],
    }


def write_outputs(outputs: Mapping[str, Array], folder: Path) -> dict[str, str]:
    """Writes each output to `folder`, whole or not at all; returns the files by output name."""
    names = {name: re.sub(r"[^\w.\-]", "_", name).lstrip(".") or "output" for name in outputs}
    if len(set(names.values())) != len(names):
        raise refuse(f"two outputs would be written to the same file: {', '.join(sorted(names.values()))}")
    folder.mkdir(parents=True, exist_ok=True)
    return {name: str(_write(outputs[name], folder / f"{names[name]}.npy")) for name in outputs}


def _write(array: Array, path: Path) -> Path:
    import numpy as np

    from secateur.ir.support.atomic import replacing

    with replacing(path) as draft, draft.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return path
