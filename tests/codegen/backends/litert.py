"""LiteRT as the judge of files: its reference kernels must give the interpreter's bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secateur.codegen.backends.tflite.emit import emit
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.types import DType

Array = NDArray[Any]
interpreter = pytest.importorskip(
    "ai_edge_litert.interpreter", reason="LiteRT is missing: pip install 'secateur[edgetpu]'"
)


def litert(data: bytes, inputs: dict[str, Array], resolver: str = "BUILTIN_REF") -> dict[str, Array]:
    """What a file's outputs are by the kernels that a resolver names."""
    return answers(data, [inputs], resolver)[0]


def answers(
    data: bytes, given: Iterable[dict[str, Array]], resolver: str = "BUILTIN_REF"
) -> list[dict[str, Array]]:
    """Those of several inputs, by one session."""
    kind = getattr(interpreter.OpResolverType, resolver)
    session = interpreter.Interpreter(model_content=data, experimental_op_resolver_type=kind, num_threads=1)
    session.allocate_tensors()
    found = []
    for inputs in given:
        for row in session.get_input_details():
            session.set_tensor(row["index"], inputs[row["name"]])
        session.invoke()
        found.append({row["name"]: session.get_tensor(row["index"]) for row in session.get_output_details()})
    return found


def random_inputs(graph: Graph, seed: int) -> dict[str, Array]:
    """Bytes over their whole range, the extremes often; floats around 0."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for value in graph.inputs:
        shape, dtype = value.type.shape, value.type.dtype
        if dtype.is_float:
            found[value.name] = rng.normal(size=shape).astype(np.float32)
            continue
        low, high = (0, 255) if dtype == DType.U8 else (-128, 127)
        array = rng.integers(low, high + 1, shape)
        edges = rng.choice([low, high], shape)
        found[value.name] = np.where(rng.random(shape) < 0.2, edges, array).astype(dtype.numpy)
    return found


def file_of(graph: Graph, target: str = "litert") -> bytes:
    """The file of a graph."""
    return emit(graph, TARGETS[target], {}).data


def check_agrees(graph: Graph, seed: int = 0, target: str = "litert") -> dict[str, Array]:
    """The interpreter's outputs on random inputs, which LiteRT's reference kernels must give to the bit."""
    inputs = random_inputs(graph, seed)
    wanted = run(graph, inputs)
    found = litert(file_of(graph, target), inputs)
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    return wanted
