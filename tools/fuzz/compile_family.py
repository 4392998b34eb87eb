"""Mutated models that still read, compiled and run: the answer is the interpreter's."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph

from . import checks
from .family import Family
from .onnx_family import mutated_model, read


class CompileFamily(Family):
    """Structurally mutated ONNX files through the whole compiler."""

    name = "compile"
    suffix = ".onnx"
    limit_s = 300
    shard = 10

    def make(self, seed: int) -> bytes:
        """The first mutation from this seed on that can be read and run."""
        for attempt in range(1000):
            data = mutated_model(seed * 1000 + attempt)
            try:
                if checks.runnable(read(data, Random(seed))):
                    return data
            except SecateurError:
                continue
        return b""

    def check(self, data: bytes, seed: int, folder: Path, _say: Any) -> str:
        return check_compiled(read(data, Random(seed)), seed, folder)


def check_compiled(graph: Graph, seed: int, folder: Path) -> str:
    """Compiles and runs a graph; Defect where a tame answer is not the interpreter's."""
    from secateur import compile, load

    artifact = compile(graph, folder / "model.so")
    inputs = checks.noise(graph, seed)
    with load(artifact.path) as session:
        found = session.run(inputs)
    if not checks.is_tame(graph, inputs):
        return "run"
    checks.compare("compiled code and interpreter differ", checks.interpreted(graph, inputs), found)
    return "agreed"
