"""A model as a graph, wherever it comes from."""

from __future__ import annotations

import os
from pathlib import Path

from .ir.errors import ModelError
from .ir.files import read_graph
from .ir.graph import Graph
from .ir.onnx_reader import read_model
from .ir.support.ir_text import SUFFIX
from .options import Inputs

Model = str | Path | Graph


def read(model: str | Path, inputs: Inputs = Inputs()) -> Graph:
    """The graph in an ONNX file or an IR text (`.sir`), which `compile` and `quantize` take too.

    Raises ModelError where the file is missing, damaged, or holds what Secateur cannot compile.
    """
    path = Path(model)
    if not os.path.isfile(path):  # False, not an error, where the system refuses the name
        raise ModelError(f"{path}: no such file")
    if path.suffix != SUFFIX:
        return read_model(path, inputs.shapes, inputs.constants, inputs.batch)
    if inputs.constants:
        raise ModelError(f"{path}: `constants` are for inputs of an ONNX model; IR text has its own already")
    return read_graph(path)


def graph_of(model: Model, inputs: Inputs) -> Graph:
    """The graph given, or that in the file given."""
    if not isinstance(model, Graph):
        return read(model, inputs)
    if inputs.constants:
        raise ModelError("`constants` are for inputs of an ONNX model; a graph has its own already")
    return model
