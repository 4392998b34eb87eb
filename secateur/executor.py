"""Graphs run for calibration: compiled for this machine where they are large, else by the interpreter."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .codegen.artifact import write_artifact
from .codegen.cache import cache_folder
from .codegen.costs import AnalyticCosts
from .codegen.lower import lower
from .codegen.targets import host
from .ir.graph import Graph, Value
from .passes.calibration.statistics import Arrays
from .passes.layout import InsertConversions
from .passes.manager import PassManager
from .passes.memory import Memory, arena_report
from .passes.quantize_measure import interpreted
from .passes.select import Select
from .runtime.session import Session, load

Array = NDArray[Any]

LARGE = 10**8
"""Multiplications in an image above which compiling pays."""


def macs(graph: Graph) -> int:
    """Multiply-accumulates of one run."""
    return sum(op.definition.macs(op) for op in graph.operators)


@dataclass(eq=False)
class HostExecutor:
    """An executor (see `passes.quantize_measure`) with the interpreter's answers, faster for large graphs.

    A float answer may differ from the interpreter's by roundings, an integer one
    does not. Keeps the last graph it compiled.
    """

    _graph: Graph | None = None
    _values: tuple[Value, ...] = ()
    _session: Session | None = field(default=None, repr=False)

    def __call__(
        self, graph: Graph, batches: Iterable[Arrays], values: Sequence[Value]
    ) -> Iterator[list[Array]]:
        if macs(graph) < LARGE:
            yield from interpreted(graph, batches, values)
            return
        session = self._opened(graph, tuple(values))
        given = set(graph.inputs)
        for batch in batches:
            found = session.run(dict(batch))
            yield [batch[v.name] if v in given else found[str(i)] for i, v in enumerate(values)]

    def _opened(self, graph: Graph, values: tuple[Value, ...]) -> Session:
        if self._session is None or self._graph is not graph or self._values != values:
            if self._session is not None:
                self._session.close()
            self._graph, self._values, self._session = graph, values, _session(graph, values)
        return self._session


def _session(graph: Graph, values: tuple[Value, ...]) -> Session:
    """A session of `graph` that gives `values`, named by their numbers; inputs among them are left out."""
    copy = graph.clone()
    twins = dict(zip(graph.values(), copy.values(), strict=True))
    shown = {str(i): twins[v] for i, v in enumerate(values) if v not in set(graph.inputs)}
    copy.set_outputs(shown.values(), shown)
    copy.remove_dead()
    passes = (Select(AnalyticCosts(host())), InsertConversions(), Memory())
    placed = PassManager(passes).run(copy).graph
    program = lower(placed, host(), arena_report(placed).peak)
    with tempfile.TemporaryDirectory() as folder:
        path = write_artifact(program, Path(folder) / "model.so", cache=cache_folder())
        return load(path, threads=os.cpu_count() or 1)
