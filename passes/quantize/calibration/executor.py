"""Who runs graphs on images; the interpreter is always at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from secateur.ir import interpreter
from secateur.ir.graph import Graph, Value
from secateur.ir.support.cores import streamed

Array = NDArray[Any]
Arrays = Mapping[str, Array]


class Executor(Protocol):
    """Runs a graph on batches (arrays by input name) and gives, for each, the arrays of `values`.

    Reads a few batches ahead of what it has given at most.
    """

    def __call__(
        self, graph: Graph, batches: Iterable[Arrays], values: Sequence[Value]
    ) -> Iterator[list[Array]]: ...


def interpreted(graph: Graph, batches: Iterable[Arrays], values: Sequence[Value]) -> Iterator[list[Array]]:
    """The executor that runs the interpreter, on one batch a core."""
    wanted = set(values)

    def run(batch: Arrays) -> list[Array]:
        found: dict[Value, Array] = {}

        def observe(value: Value, array: Array) -> None:
            if value in wanted:
                found[value] = array

        interpreter.run(graph, batch, observe)
        return [found[v] for v in values]

    return streamed(run, batches)
