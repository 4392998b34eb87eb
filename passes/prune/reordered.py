"""In which order the channels of initializers stand once sums of channels are closed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Graph, Operator

from ..fuse.closing import close_sums

Indices = Mapping[str, Mapping[int, Sequence[int]]]


def in_order(kept: Indices, removed: Graph) -> Indices:
    """`kept` as closing the sums of `removed` leaves it, a graph from which all others are gone.

    The rewrites are run on constants that hold their own indices along an axis, one axis after another: what
    they hold then is the order.
    """
    most = max((op.result.type.rank for op in _weights(removed)), default=0)
    orders = [_orders(removed, axis) for axis in range(most)]
    names = dict.fromkeys((*kept, *(name for order in orders for name in order)))
    found = {name: _moved(kept.get(name, {}), [order.get(name) for order in orders]) for name in names}
    return {name: axes for name, axes in found.items() if axes}


def _moved(kept: Mapping[int, Sequence[int]], orders: Sequence[Sequence[int] | None]) -> dict[int, list[int]]:
    """Indices of one initializer by axis, those that stay put in the order that is known."""
    found = {axis: list(indices) for axis, indices in kept.items()}
    for axis, order in enumerate(orders):
        if order is not None and list(order) != list(range(len(order))):
            found[axis] = [kept[axis][i] if axis in kept else i for i in order]
    return found


def _orders(removed: Graph, axis: int) -> dict[str, list[int]]:
    """For each initializer that has the axis: which indices stand along it, one after the other."""
    marked = removed.clone()
    for op in _weights(marked):
        if op.result.type.rank > axis:
            op.attributes["value"] = _marks(op.result.type.shape, axis)
    close_sums(marked)
    having = (op for op in _weights(marked) if op.result.type.rank > axis)
    return {op.result.name: _along(op["value"], axis) for op in having}


def _marks(shape: Sequence[int], axis: int) -> NDArray[np.float32]:
    places = [-1 if i == axis else 1 for i in range(len(shape))]
    return np.broadcast_to(np.arange(shape[axis], dtype=np.float32).reshape(places), shape).copy()


def _along(marks: NDArray[np.float32], axis: int) -> list[int]:
    first = [slice(None) if i == axis else 0 for i in range(marks.ndim)]
    return [int(i) for i in marks[tuple(first)]] if marks.size else []


def _weights(graph: Graph) -> Iterator[Operator]:
    """Constants of float32 that have a name: initializers."""
    for op in graph.operators:
        if op.name == "nn.constant" and op.result.name and op.result.type.dtype.numpy == np.float32:
            yield op
