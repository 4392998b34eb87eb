"""Graphs run for calibration: compiled for this machine where they are large, else by the interpreter."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .codegen.backends.registry import backend_of
from .codegen.targets.host import host, runnable
from .ir.graph import Graph, Value, constant_of
from .ir.ops.quantize import rounds_as_tflite
from .ir.support.unfinished import temporary_folder
from .ir.types import DType
from .passes.framework.manager import PassManager
from .passes.fuse.closing import close_sums
from .passes.layout import InsertConversions
from .passes.memory.memory import Memory
from .passes.quantize.calibration.executor import Array, Arrays, interpreted
from .passes.select.select import Select
from .runtime.session import Session, load

LARGE = 10**8
"""Multiplications in an image above which compiling pays."""


def macs(graph: Graph) -> int:
    """Multiply-accumulates of one run."""
    return sum(op.macs for op in graph.operators)


@dataclass(eq=False)
class HostExecutor:
    """An executor (see `passes.quantize.measure`) with the interpreter's answers, faster for large graphs
    where this machine runs compiled code.

    A float answer may differ from the interpreter's by roundings, an integer one
    does not. Keeps the last graph it compiled, with all its values as outputs,
    so that whatever is asked of a graph it is compiled once.
    """

    _graph: Graph | None = None
    _session: Session | None = field(default=None, repr=False)

    def __call__(
        self, graph: Graph, batches: Iterable[Arrays], values: Sequence[Value]
    ) -> Iterator[list[Array]]:
        if macs(graph) < LARGE or not runnable() or rounds_as_tflite(graph.operators):
            yield from interpreted(graph, batches, values)
            return
        session, numbers = self._opened(graph), _numbers(graph)
        for batch in batches:
            found = session.run(dict(batch))
            yield [found[numbers[v]] if v in numbers else _given(v, batch) for v in values]

    def _opened(self, graph: Graph) -> Session:
        if self._session is None or self._graph is not graph:
            if self._session is not None:
                self._session.close()
            self._graph, self._session = graph, _session(graph)
        return self._session


def _given(value: Value, batch: Arrays) -> Array:
    """An input or a constant."""
    constant = constant_of(value)
    return batch[value.name] if constant is None else constant


def _numbers(graph: Graph) -> dict[Value, str]:
    """Names of the values that a session gives: results that are real or bytes, and the graph's outputs."""
    results = (r for op in graph.operators if op.name != "nn.constant" for r in op.results)
    shown = (DType.F32, DType.U8)
    return {r: str(i) for i, r in enumerate(results) if r.type.dtype in shown or r in graph.outputs}


def _session(graph: Graph) -> Session:
    copy = graph.clone()
    shown = _numbers(copy)
    copy.set_outputs(shown, shown.values())
    close_sums(copy)
    row, backend = host(), backend_of(host())
    passes = (Select(costs=backend.costs(row)), InsertConversions(), Memory())
    program = backend.emit(PassManager(passes).run(copy).graph, row)
    with temporary_folder("secateur-") as folder:
        path = backend.write(program, folder / "model.so")
        return load(path, threads=os.cpu_count() or 1)
