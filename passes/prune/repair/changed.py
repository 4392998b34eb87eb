"""Which layers a repair changed."""

from __future__ import annotations

import numpy as np

from secateur.ir.graph import Array, Graph, constant_of

from ..sizes import is_layer


def changed_layers(before: Graph, after: Graph) -> tuple[str, ...]:
    """The ONNX nodes of layers whose weights are not those that they had, in order."""
    old = _weights(before)
    return tuple(
        name
        for name, array in _weights(after).items()
        if name in old and not np.array_equal(old[name], array, equal_nan=True)
    )


def _weights(graph: Graph) -> dict[str, Array]:
    found = {op.loc: constant_of(op.operands[1]) for op in graph.operators if op.loc and is_layer(op)}
    return {name: array for name, array in found.items() if array is not None}
