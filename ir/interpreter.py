"""Runs a graph in NumPy by the reference meaning of each operator (see `ir.reference`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError, SecateurError
from .graph import Graph, Operator, Value
from .reference import rule_of
from .support.cores import single_threaded_products
from .types import extents

Array = NDArray[Any]
Observer = Callable[[Value, Array], object]


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
            f"input '{value.name}' is {value.type}, got {array.dtype} of shape {extents(array.shape)}"
        )
    return array


def _ignore(_value: Value, _array: Array) -> None: ...


def run(graph: Graph, inputs: Mapping[str, Array], observe: Observer = _ignore) -> dict[str, Array]:
    """The outputs by name on input arrays by name; SecateurError where one is missing or does not fit.

    `observe` sees every value (inputs and constants too) with its array once, as soon as it is there;
    arrays are dropped after their last use, so that watching all of them takes no more memory.
    """
    unknown = set(inputs) - {v.name for v in graph.inputs}
    if unknown:
        raise SecateurError(f"the graph has no input {', '.join(sorted(unknown))}")
    arrays: dict[Value, Array] = {v: _fed(v, inputs) for v in graph.inputs}
    last = {v: op for op in graph.operators for v in op.operands}
    kept = set(graph.outputs)
    for value, array in arrays.items():
        observe(value, array)
    with single_threaded_products():
        for op in graph.operators:
            for value, array in zip(op.results, _checked(op, [arrays[v] for v in op.operands]), strict=True):
                arrays[value] = array
                observe(value, array)
            for value in op.operands:
                if last[value] is op and value not in kept:
                    arrays.pop(value, None)
    return {name: arrays[v] for v, name in zip(graph.outputs, graph.output_names, strict=True)}


def _checked(op: Operator, operands: list[Array]) -> list[Array]:
    results = evaluate(op, operands)
    for array, value in zip(results, op.results, strict=True):
        if array.shape != value.type.shape or array.dtype != value.type.dtype.numpy:
            found = f"computed {array.dtype} of shape {extents(array.shape)}"
            raise ModelError(f"{op!r}: {found}, its type is {value.type}")
    return results
