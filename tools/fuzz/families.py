"""The families of cases: what is mutated, and what every mutation must come to.

A case is made from its seed alone. `check` says in a word what it came to, or
raises: a user's error is a refusal, `Defect` and everything else a failure.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import onnx

from secateur.ir.errors import ModelNote
from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model

from . import checks
from .mutate import mutate_bytes, mutate_message
from .seeds import SEEDS, seed_bytes

PEER = "peer"  # said before foreign code runs in this process


class Family(ABC):
    """One kind of input."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    limit_s: ClassVar[int] = 20
    shard: ClassVar[int] = 250  # cases that one worker does, fewer where they take long

    @abstractmethod
    def make(self, seed: int) -> bytes:
        """The mutated input, as the bytes of a file."""

    @abstractmethod
    def check(self, data: bytes, seed: int, folder: Path, say: Any) -> str:
        """What the input came to; `folder` is empty scratch, `say(PEER)` announces foreign code."""


def _names(model: onnx.ModelProto) -> list[str]:
    """Names of edges and operators, for renaming."""
    from secateur.ir.onnx_reader.reader import HANDLERS

    edges = [name for node in model.graph.node for name in (*node.input, *node.output)]
    return [*edges, *Random(0).sample(sorted(HANDLERS), 20)]


def mutated_model(seed: int) -> bytes:
    """A seed model with one to three changes to its message."""
    random = Random(seed)
    return mutated(random, onnx.ModelProto.FromString(random.choice(seed_bytes())))


def mutated(random: Random, model: onnx.ModelProto) -> bytes:
    """The model with one to three changes."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        part = model if random.random() < 0.1 else model.graph
        mutate_message(random, part, _names(model))
    return bytes(model.SerializeToString())


def read(data: bytes, random: Random) -> Graph:
    """The model as read; half the time with a shape for the symbolic seed's input."""
    shapes = {"x": (2, 3)} if b"symbolic" in data[:400] and random.random() < 0.8 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelNote)  # of a free batch
        return read_model(data, shapes)


class OnnxFamily(Family):
    """Mutated ONNX files: half of them bytes, half messages."""

    name = "onnx"
    suffix = ".onnx"
    scale: ClassVar[int] = 1  # of the limits on what is run

    def make(self, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.3:
            return mutate_bytes(random, random.choice(seed_bytes()), seed_bytes())
        return mutated_model(seed)

    def check(self, data: bytes, seed: int, _folder: Path, say: Any) -> str:
        graph = read(data, Random(seed))
        checks.verified(graph)
        answers = checks.check_graph(graph, seed, self.scale)
        if answers is None:
            return "read"
        return self._check_peer(data, graph, seed, answers, say)

    def _check_peer(self, data: bytes, graph: Graph, seed: int, answers: checks.Arrays, say: Any) -> str:
        inputs = checks.noise(graph, seed)
        if not answers or not checks.is_tame(graph, inputs):
            return "run"
        say(PEER)
        wanted = peer_answers(data, inputs)
        if wanted is None:
            return "run"
        checks.compare("the interpreter and ONNX Runtime differ", wanted, answers)
        return "agreed"


def peer_answers(data: bytes, inputs: checks.Arrays) -> dict[str, checks.Array] | None:
    """ONNX Runtime's answers, or None where it is missing or refuses the model."""
    from ..checks.layers import has_onnxruntime, onnxruntime_errors

    if not has_onnxruntime():
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    refusals: tuple[type[Exception], ...] = (*onnxruntime_errors(), ValueError, RuntimeError)
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, dict(inputs)), strict=True))
    except refusals:
        return None


@cache
def families() -> dict[str, Family]:
    """Every family by name."""
    from .artifact_family import ArtifactFamily
    from .compile_family import CompileFamily
    from .large_family import LargeFamily
    from .text_family import TextFamily

    return {f.name: f for f in (OnnxFamily(), TextFamily(), ArtifactFamily(), CompileFamily(), LargeFamily())}


__all__ = ["PEER", "SEEDS", "Family", "families", "mutated", "mutated_model", "read"]
