"""Relations between axes that families of operators share (see `ir.axes`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from ..axes import OUT, Axes, Axis, Indices, Ports, Relation, Tie

WINDOWS = "moves a window along axis {axis}"


def equal_axes(port: int, axes: Sequence[int]) -> Iterator[Relation]:
    """Axes of an operand that the result has at the same places."""
    for axis in axes:
        yield Tie(Axis(port, axis), Axis(OUT, axis))


def axes_beside(ports: Ports) -> Iterator[Relation]:
    """All axes but the one that the attribute `axis` names are the result's, at the same places."""
    rank = ports.types[0].rank
    yield from equal_axes(0, [axis for axis in range(rank) if axis != ports["axis"] % rank])


def broadcast_axes(ports: Ports, port: int, axes: Collection[int] | None = None) -> Iterator[Relation]:
    """Axes of an operand that broadcasts to the result; only those at the given `axes` of the result.

    One element that is repeated along an axis of the result belongs to none of those there.
    """
    offset = ports.result.rank - ports.types[port].rank
    for axis, extent in enumerate(ports.types[port].shape):
        at = axis + offset
        if extent == ports.result.shape[at] and (axes is None or at in axes):
            yield Tie(Axis(port, axis), Axis(OUT, at))


def elementwise_relations(ports: Ports) -> Iterator[Relation]:
    """Every operand broadcasts to the result."""
    for port in range(len(ports.types)):
        yield from broadcast_axes(ports, port)


ELEMENTWISE = Axes(elementwise_relations, "repeats one element along axis {axis}")


def extras(ports: Ports, first: int, axes: Collection[int]) -> Iterator[Relation]:
    """Operands from `first` on feed an epilogue or are added; of the result only `axes` may lose elements."""
    for port in range(first, len(ports.types)):
        yield from broadcast_axes(ports, port, axes)


def spread(outer: int, inner: int) -> tuple[Indices, Indices]:
    """Of an axis of outer x inner: the outer and the inner index of every element."""
    whole = np.arange(outer * inner)
    return whole // max(1, inner), whole % max(1, inner)
