"""A graph run operator by operator, each on all calibration batches before the next one runs.

Results are kept until their last reader has run: what lies between two layers of the network, for all
batches. Beyond `IN_MEMORY` bytes they lie in a file, which the system reads back as they are wanted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.interpreter import evaluate
from secateur.ir.support.cores import on_all_cores

from ...quantize.calibration.executor import Arrays
from ..linear.matrices import Array

IN_MEMORY = 1 << 30
"""Bytes of results that a replay keeps in memory; more go to a temporary file."""


class Replay:
    """The values of a graph on some batches, as far as it has been run. Mutable: `run` moves on."""

    def __init__(self, graph: Graph, batches: Sequence[Arrays], folder: Path) -> None:
        self.graph = graph
        self.batches = range(len(batches))
        self._folder = folder
        self._bytes = 0
        self._arrays = {v: [np.asarray(b[v.name]) for b in batches] for v in graph.inputs}
        self._readers = {v: graph.use_count(v) for v in graph.values()}
        self._waiting = deque(op for op in graph.operators if op.name != "nn.constant")
        self._left = set(self._waiting)

    def array(self, value: Value, batch: int) -> Array:
        """A value on one batch; KeyError where it has not been computed, or is no longer kept."""
        constant = constant_of(value)
        return self._arrays[value][batch] if constant is None else constant

    def knows(self, value: Value) -> bool:
        return value in self._arrays

    def has_run(self, op: Operator) -> bool:
        return op not in self._left

    def run_before(self, op: Operator) -> None:
        """Runs what stands before `op` and has not been run; nothing where `op` has been."""
        while op in self._left and self._waiting[0] is not op:
            self._run(self._waiting[0])

    def run(self, op: Operator) -> None:
        """Runs everything as far as `op`."""
        self.run_before(op)
        if op in self._left:
            self._run(op)

    def _run(self, op: Operator) -> None:
        self._waiting.popleft()
        self._left.discard(op)
        found = on_all_cores(lambda batch: self._evaluated(op, batch), self.batches)
        for number, result in enumerate(op.results):
            self._arrays[result] = [results[number] for results in found]
        for value in op.operands:
            if not value.is_constant:
                self._readers[value] -= 1
                if not self._readers[value]:
                    self._forget(value)

    def _evaluated(self, op: Operator, batch: int) -> list[Array]:
        return [self._kept(a) for a in evaluate(op, [self.array(v, batch) for v in op.operands])]

    def _kept(self, array: Array) -> Array:
        if array.nbytes == 0 or self._bytes + array.nbytes <= IN_MEMORY:
            self._bytes += array.nbytes
            return array
        return _in_file(array, self._folder)

    def _forget(self, value: Value) -> None:
        arrays = self._arrays.pop(value, [])
        self._bytes -= sum(a.nbytes for a in arrays if not isinstance(a, np.memmap))


def _in_file(array: Array, folder: Path) -> Array:
    """The array, mapped from a file that goes with it.

    Without a head, which NumPy parses as Python: CPython 3.11 does not do that in two threads at once.
    """
    path = folder / f"{id(array)}"
    array.tofile(path)
    mapped: Array = np.memmap(path, array.dtype, "r", shape=array.shape)
    path.unlink()
    return mapped
