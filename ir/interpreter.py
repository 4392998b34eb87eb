"""Runs a graph in NumPy by the reference meaning of each operator (see `ir.reference`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError, SecateurError
from .graph import Graph, Operator, Value
from .reference import rule_of

Array = NDArray[Any]


def evaluate(op: Operator, arrays: Sequence[Array]) -> list[Array]:
    """The results of one operator on operand arrays in logical row-major order."""
    with np.errstate(all="ignore"):
        return [np.asarray(rule_of(op)(op, arrays))]


def _fed(value: Value, inputs: Mapping[str, Array]) -> Array:
    if value.name not in inputs:
        raise SecateurError(f"no array for input '{value.name}'; given: {', '.join(inputs) or 'none'}")
    array = np.asarray(inputs[value.name])
    if array.shape != value.type.shape or array.dtype != value.type.dtype.numpy:
        raise SecateurError(
            f"input '{value.name}' is {value.type.dtype.value} {value.type.shape}, "
            f"got {array.dtype} {array.shape}"
        )
    return array


def run(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs by name on input arrays by name; SecateurError where one is missing or does not fit."""
    unknown = set(inputs) - {v.name for v in graph.inputs}
    if unknown:
        raise SecateurError(f"the graph has no input {', '.join(sorted(unknown))}")
    arrays: dict[Value, Array] = {v: _fed(v, inputs) for v in graph.inputs}
    last = {v: op for op in graph.operators for v in op.operands}
    kept = set(graph.outputs)
    for op in graph.operators:
        arrays.update(zip(op.results, _checked(op, [arrays[v] for v in op.operands]), strict=True))
        for value in op.operands:
            if last[value] is op and value not in kept:
                arrays.pop(value, None)
    return {name: arrays[v] for v, name in zip(graph.outputs, graph.output_names, strict=True)}


def _checked(op: Operator, operands: list[Array]) -> list[Array]:
    results = evaluate(op, operands)
    for array, value in zip(results, op.results, strict=True):
        if array.shape != value.type.shape or array.dtype != value.type.dtype.numpy:
            raise ModelError(f"{op!r}: computed {array.dtype} {array.shape}, its type is {value.type}")
    return results
