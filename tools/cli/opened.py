"""What `run` and `bench` run: an artifact, or a model that is compiled for it first."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.ir.errors import SecateurError

from .inputs import graph_ports
from .source import Settled, source_kind

if TYPE_CHECKING:
    from secateur.runtime.session import Session

    from ..progress import Progress
    from .inputs import Array, Port

    Arrays = Callable[[Sequence[Port]], dict[str, Array]]
    Outputs = dict[str, Array]


def check_runnable(path: Path, settled: Settled, tflite: bool = False) -> None:
    """SecateurError where these options are for a model and the file is none, or the other way.

    TFLite files are for the commands that say so.
    """
    kind = source_kind(path)
    if kind == "tflite" and not tflite:
        raise SecateurError(
            f"{path}: is a TFLite file; `run` and `bench` run it, `inspect` shows what it holds"
        )
    if kind not in ("artifact", "tflite"):
        settled.check(path)
    elif settled != Settled():
        raise SecateurError(f"{path}: is an artifact, whose shapes and constants are settled already")


@contextmanager
def run_of(path: Path, threads: int, settled: Settled, arrays: Arrays, show: Progress) -> Iterator[Outputs]:
    """What one run gives: of a TFLite file in LiteRT, else as `opened`."""
    if source_kind(path) != "tflite":
        with opened(path, threads, settled, arrays, show) as (session, inputs):
            yield session.run(inputs)
        return
    from ..litert import LitertSession

    with LitertSession(path, threads) as litert:
        yield litert.run(arrays(litert.inputs))


@contextmanager
def opened(
    path: Path, threads: int, settled: Settled, arrays: Arrays, show: Progress
) -> Iterator[tuple[Session, dict[str, Array]]]:
    """A session of the artifact, or of the model compiled for this machine, and the arrays for its inputs.

    What is wrong with the arrays is said before anything is compiled, which goes again afterwards.
    """
    if source_kind(path) != "artifact":
        with _of_model(path, threads, settled, arrays, show) as found:
            yield found
        return
    from secateur.runtime.session import load

    with load(path, threads) as session:
        yield session, arrays(session.inputs)


@contextmanager
def _of_model(
    path: Path, threads: int, settled: Settled, arrays: Arrays, show: Progress
) -> Iterator[tuple[Session, dict[str, Array]]]:
    import secateur
    from secateur.ir.support.unfinished import temporary_folder

    kept = f"`secateur compile {shlex.quote(str(path))}` makes an artifact that stays"
    print(f"note: {path} is a model, compiled for this run alone; {kept}", file=sys.stderr, flush=True)
    show("reading", 0, 1)
    graph = settled.read(path)
    inputs = arrays(graph_ports(graph))
    with temporary_folder("secateur-") as folder:
        made = secateur.compile(graph, folder / "model.so", watch=secateur.Watch(progress=show))
        with secateur.load(made.path, threads) as session:
            show("running", 0, 1)
            yield session, inputs
