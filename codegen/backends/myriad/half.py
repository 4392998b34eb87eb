"""A network in float16: constants, values and ends; what is not a float stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.registry import create
from secateur.ir.support.half import LARGEST, overflows, rounded
from secateur.ir.types import DType, TensorType

WIDE = (DType.F32, DType.F64)


def too_large(graph: Graph) -> Iterator[str]:
    """A line for each constant that float16 does not reach."""
    for op in graph.operators:
        array = constant_of(op.result) if op.name == "nn.constant" else None
        if array is not None and array.dtype.kind == "f" and overflows(array):
            largest = np.abs(array[np.isfinite(array)]).max()
            yield f"constant %{op.result.name}: {largest:g} is more than float16 reaches ({LARGEST:g})"


def in_half(graph: Graph) -> Graph:
    """The same operators on float16, which reaches all constants."""
    made = Graph(graph.name)
    values: dict[Value, Value] = {v: made.add_input(_narrow(v.type), v.name) for v in graph.inputs}
    for op in graph.operators:
        new = made.append(create(op.name, [values[v] for v in op.operands], _attributes(op), op.loc))
        for old, result in zip(op.results, new.results, strict=True):
            result.name = old.name
            values[old] = result
    made.set_outputs([values[v] for v in graph.outputs], graph.output_names)
    return made


def _narrow(type: TensorType) -> TensorType:
    return TensorType(type.shape, DType.F16) if type.dtype in WIDE else type


def _attributes(op: Operator) -> dict[str, Any]:
    found = dict(op.attributes)
    if op.name == "nn.constant":
        found["value"] = _rounded(found["value"])
    if op.name == "nn.cast" and found["dtype"] in WIDE:
        found["dtype"] = DType.F16
    return found


def _rounded(array: NDArray[Any]) -> NDArray[Any]:
    return rounded(array) if array.dtype.kind == "f" else array
