"""Structural comparison of graphs; graphs themselves compare by identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from secateur.ir.graph import Graph, Operator, Value


def difference(a: Graph, b: Graph) -> str:
    """Where two graphs first differ, in words; empty where they are equal.

    Equal graphs have the same name, inputs, operators in the same order with
    the same attributes (defaults filled in; constants to the bit, any NaN
    equal to any other), types, names and locations, and the same outputs.
    """
    if a.name != b.name or a.output_names != b.output_names:
        return f"graph {a.name} -> {a.output_names} against {b.name} -> {b.output_names}"
    if len(a.inputs) != len(b.inputs) or len(a.operators) != len(b.operators):
        return f"{_size(a)} against {_size(b)}"
    twins: dict[Value, Value] = {}
    found = _values(a.inputs, b.inputs, twins)
    for ours, theirs in zip(a.operators, b.operators, strict=True):
        found = found or _operators(ours, theirs, twins)
    if not found and [twins[v] for v in a.outputs] != b.outputs:
        return "outputs are different values"
    return found


def _size(graph: Graph) -> str:
    return f"{len(graph.inputs)} inputs and {len(graph.operators)} operators"


def _values(ours: list[Value], theirs: list[Value], twins: dict[Value, Value]) -> str:
    """Pairs the values up; says which differ in name or type."""
    twins.update(zip(ours, theirs, strict=True))
    return "".join(
        f"{x!r} against {y!r}"
        for x, y in zip(ours, theirs, strict=True)
        if (x.name, x.type) != (y.name, y.type)
    )


def _operators(a: Operator, b: Operator, twins: dict[Value, Value]) -> str:
    if (a.name, a.loc, len(a.results)) != (b.name, b.loc, len(b.results)):
        return f"{a!r} against {b!r}"
    if [twins.get(v) for v in a.operands] != b.operands:
        return f"{a!r} and {b!r} have different operands"
    if not _attributes(_completed(a), _completed(b)):
        return f"{a!r} has attributes {a.attributes}, {b!r} has {b.attributes}"
    return _values(a.results, b.results, twins)


def _completed(op: Operator) -> dict[str, Any]:
    return {**op.definition.complete(op.attributes), **op.attributes}


def _attributes(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return _same_array(a, b)
    return type(a) is type(b) and repr(a) == repr(b)  # tells -0.0 from 0.0, and NaN is NaN


def _same_array(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Equal in type, shape and every bit, but for NaNs, which are all equal."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if not np.issubdtype(a.dtype, np.floating):
        return bool((a == b).all())
    signs = np.signbit(a) == np.signbit(b)
    return bool(((a == b) & signs | (np.isnan(a) & np.isnan(b))).all())
