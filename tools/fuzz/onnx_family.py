"""Mutated ONNX files: read and run as ONNX Runtime does, or refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import onnx

from secateur.ir.errors import ModelNote
from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model

from . import checks
from .family import PEER, Family
from .mutate import mutate_bytes, mutate_message
from .seeds import seed_bytes


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
