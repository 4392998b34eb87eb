"""Mutated IR texts and their resource files."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import safetensors.numpy

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.errors import SecateurError
from secateur.ir.files import RESOURCES, read_graph
from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model
from secateur.ir.printer import print_graph
from secateur.ir.stages import PLACED, READ
from secateur.ir.verifier import verify
from secateur.passes.framework.manager import PassManager
from secateur.passes.memory.memory import arena_report
from secateur.passes.memory.placement import check_placement

from . import checks
from .family import Family
from .mutate import mutate_bytes, mutate_text
from .seeds import SEEDS

TARGET = TARGETS["x86-64-v3"]
SEPARATOR = b"\n\0resources\0\n"
PIPELINES = ("canonicalize,fuse", "canonicalize,fuse,select,layout,memory")


@cache
def texts() -> tuple[tuple[str, bytes], ...]:
    """Text and resource file of every seed as read and, where the passes take it, fused and placed."""
    return tuple(_printed(graph) for graph in _graphs())


def _graphs() -> list[Graph]:
    from secateur.prepare import prepare

    graphs = [read_model(s.model(), {"x": (2, 3)} if s.name == "symbolic" else None) for s in SEEDS]
    staged = list(graphs)
    for pipeline in PIPELINES:
        manager = PassManager(prepare(pipeline, TARGET))
        for graph in graphs:
            with suppress(SecateurError):  # an operator that no pass or primitive takes
                staged.append(manager.run(graph).graph)
    return staged


def _printed(graph: Graph) -> tuple[str, bytes]:
    text, resources = print_graph(graph)
    return text, safetensors.numpy.save(dict(resources))


class TextFamily(Family):
    """IR text, and now and then the constants beside it."""

    name = "ir"
    suffix = ".sir+resources"

    def make(self, seed: int) -> bytes:
        random = Random(seed)
        text, resources = random.choice(texts())
        data = mutate_text(random, text).encode("utf-8", "surrogatepass")
        if random.random() < 0.1:
            data = mutate_bytes(random, text.encode())
        if random.random() < 0.1:
            resources = mutate_bytes(random, resources)
        return data + SEPARATOR + resources

    def check(self, data: bytes, seed: int, folder: Path, _say: Any) -> str:
        text, _, resources = data.partition(SEPARATOR)
        path = folder / "case.sir"
        path.write_bytes(text)
        path.with_name(path.name + RESOURCES).write_bytes(resources)
        graph = read_graph(path)
        checks.check_text(graph)
        verify(graph)
        if any(op.name.startswith("prim.") for op in graph.operators):
            return self._check_lowered(graph)
        verify(graph, READ)
        return "read" if checks.check_graph(graph, seed) is None else "run"

    def _check_lowered(self, graph: Graph) -> str:
        """A hand-edited plan is checked before it becomes code: overlapping places must be refused."""
        from secateur.codegen.decisions import check_decisions
        from secateur.prepare import prepare

        placed = PassManager(prepare("layout,memory", TARGET)).run(graph).graph
        check_decisions(placed, TARGET, PRIMITIVES)
        for op in placed.operators:
            if op.name != "nn.constant":
                primitive = PRIMITIVES.find(op)
                primitive.kernel(op, TARGET)
                primitive.arguments(op, TARGET)
        verify(graph, PLACED)
        check_placement(graph)
        arena_report(graph)
        return "placed"
