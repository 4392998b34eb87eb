"""Common subexpressions: operators that compute the same become one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from secateur.ir.graph import Graph, Operator

SAMPLE = 64


def _same(a: Any, b: Any) -> bool:
    """Equality to the bit, of attributes too (so that 0.0 and -0.0 differ, and NaN equals itself)."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a is b or (a.dtype == b.dtype and a.shape == b.shape and _bytes(a) == _bytes(b))
    return type(a) is type(b) and repr(a) == repr(b)


def _bytes(array: np.ndarray[Any, Any]) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _digest(value: Any) -> Hashable:
    """Equal for equal attributes; arrays are sampled, so unequal ones may collide."""
    if isinstance(value, np.ndarray):
        flat = value.reshape(-1)
        return (value.dtype.str, value.shape, flat[:: max(1, flat.size // SAMPLE)].tobytes())
    return repr(value)


def _attributes(op: Operator) -> dict[str, Any]:
    declared = {a.name: op[a.name] for a in op.definition.attributes}
    return declared | op.attributes


def _key(op: Operator) -> Hashable:
    attributes = tuple(sorted((name, _digest(value)) for name, value in _attributes(op).items()))
    return (op.name, tuple(map(id, op.operands)), tuple(r.type for r in op.results), attributes)


def _equal(a: Operator, b: Operator) -> bool:
    left, right = _attributes(a), _attributes(b)
    return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)


def merge_duplicates(graph: Graph, share: bool = True) -> int:
    """Replaces operators by earlier ones of the same name, operands and attributes; returns how many.

    Without `share` constants that have names stay.
    """
    seen: dict[Hashable, list[Operator]] = {}
    merged: dict[Operator, list[Operator]] = {}
    for op in graph.operators:
        if not share and op.name == "nn.constant" and op.result.name:
            continue
        rivals = seen.setdefault(_key(op), [])
        first = next((r for r in rivals if _equal(r, op)), None)
        if first is None:
            rivals.append(op)
            continue
        for old, new in zip(op.results, first.results, strict=True):
            graph.replace_value(old, new)
        merged[op] = []
    graph.replace_operators(merged)
    return len(merged)
