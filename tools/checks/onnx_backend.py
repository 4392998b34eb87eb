"""The ONNX `Backend` interface, through which ONNX's own test suite runs.

    rep = SecateurBackend.prepare(model)            # interpreted
    rep = SecateurBackend.prepare(model, compile_graph=compiled(folder))
    outputs = rep.run([array, ...])

Shapes are static here, so inputs that shapes or types follow from (Reshape's
shape, Slice's bounds, a quantization's scale) are bound as constants when the
model is run; every other input stays an input.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.backend.base import Backend, BackendRep

import secateur
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model

Arrays = Mapping[str, NDArray[Any]]
CompileGraph = Callable[[Graph], Callable[[Arrays], Arrays]]

KNOWN_INPUTS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "DequantizeLinear": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "GRU": (4,),
    "LSTM": (4,),
    "MaxUnpool": (2,),
    "OneHot": (1,),
    "Pad": (1, 2, 3),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2),
    "RNN": (4,),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "ReverseSequence": (1,),
    "STFT": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Inputs, by operator and position, that must be known when a model is compiled."""


def interpret(graph: Graph) -> Callable[[Arrays], Arrays]:
    """The graph as a function, by the reference interpreter."""
    return lambda inputs: run(graph, inputs)


def compiled(folder: Path) -> CompileGraph:
    """Compiles graphs for this machine, to artifacts in `folder` that are loaded and run."""

    def compile_graph(graph: Graph) -> Callable[[Arrays], Arrays]:
        artifact = secateur.compile(graph, folder / f"{next(numbers)}.so")

        def run_artifact(inputs: Arrays) -> Arrays:
            with secateur.load(artifact.path) as session:
                return session.run(dict(inputs))

        return run_artifact

    numbers = itertools.count()
    return compile_graph


def known_inputs(model: ModelProto) -> set[str]:
    """Names of values that must be known when the model is compiled, and of those they are computed from."""
    known: set[str] = set()
    for node in reversed(model.graph.node):
        positions: Sequence[int] = KNOWN_INPUTS.get(node.op_type, ())
        if known.intersection(node.output) and node.op_type not in ("Shape", "Size"):
            positions = range(len(node.input))
        known.update(node.input[p] for p in positions if p < len(node.input))
    return known


class SecateurRep(BackendRep):
    """A model ready to run; it is read (and compiled) anew for the shapes of each run's inputs."""

    def __init__(self, model: ModelProto, compile_graph: CompileGraph) -> None:
        self.model, self.compile_graph = model, compile_graph
        initializers = {tensor.name for tensor in model.graph.initializer}
        self.names = [i.name for i in model.graph.input if i.name not in initializers]

    def run(self, inputs: Sequence[Any], **_: Any) -> tuple[NDArray[Any], ...]:
        """Outputs on inputs, both in the model's order; SecateurError where the model is refused."""
        arrays = {name: np.asarray(x) for name, x in zip(self.names, inputs, strict=False)}
        known = known_inputs(self.model)
        constants = {name: a for name, a in arrays.items() if name in known}
        graph = read_model(self.model, {name: a.shape for name, a in arrays.items()}, constants)
        outputs = self.compile_graph(graph)({name: a for name, a in arrays.items() if name not in known})
        return tuple(outputs[name] for name in graph.output_names)


class SecateurBackend(Backend):
    """Runs ONNX models interpreted, or compiled by the function given to `prepare`."""

    @classmethod
    def prepare(
        cls, model: ModelProto, device: str = "CPU", compile_graph: CompileGraph = interpret, **_: Any
    ) -> SecateurRep:
        """ValueError for a device other than the CPU."""
        if not cls.supports_device(device):
            raise ValueError(f"device {device} is not supported")
        return SecateurRep(model, compile_graph)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"
