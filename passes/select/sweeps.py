"""Sweeps over a trellis: least time under limits on memory, and least memory.

All are exact up to the rounding of sums of seconds in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from secateur.ir.support.units import size_text

from .problem import Plan
from .trellis import Floats, Ints, Layer, NoCourseError, Trellis, restricted

TIES = 1e-12
"""Times that differ by less, as a share of them, count as equal: sums in another order differ so."""


def forward(layers: Sequence[Layer], start: Floats, limits: Ints | None = None) -> list[Floats]:
    """Least seconds to each state of each layer, those of the `start` first, a column for each start.

    With `limits`, one a column, only over edges that need no more bytes.
    """
    found = [start]
    for layer in layers:
        found.append(advanced(layer, found[-1], limits))
    return found


def advanced(layer: Layer, before: Floats, limits: Ints | None = None) -> Floats:
    """Least seconds to each state after a layer from those before it; see `forward`."""
    reduced: Floats = np.minimum.reduceat(_totals(layer, before, limits), layer.starts, axis=0)
    return reduced


def _totals(layer: Layer, before: Floats, limits: Ints | None) -> Floats:
    """Seconds to the end of each edge, infinite where it needs more than the limit; a column a limit."""
    total: Floats = before[layer.source]
    total += layer.seconds[:, None]
    if limits is not None and layer.need.max() > limits.min():
        np.copyto(total, np.inf, where=layer.need[:, None] > limits)
    return total


def backward(trellis: Trellis) -> list[Floats]:
    """Least seconds from each state to the end, aligned with `forward`, whatever the memory."""
    found = [np.zeros(1)]
    for i in range(len(trellis.layers) - 1, -1, -1):
        layer = trellis.layers[i]
        before = np.full(trellis.layers[i - 1].states if i else 1, np.inf)
        np.minimum.at(before, layer.source, layer.seconds + found[-1][layer.target])
        found.append(before)
    return found[::-1]


@dataclass(frozen=True)
class Course:
    """One way through the trellis, by the number of its edge in each layer, and its costs."""

    plan: Plan
    edges: tuple[int, ...]
    seconds: float
    peak: int
    toll: float


def courses(trellis: Trellis, edges: Ints) -> list[Course]:
    """The courses along one edge of each layer, a row of `edges` each."""
    taken = list(zip(trellis.layers, edges.T, strict=True))
    ways = np.stack([layer.way[e] for layer, e in taken], axis=1)[:, :-1].tolist()
    seconds = sum(layer.seconds[e] for layer, e in taken)
    peaks = np.maximum.reduce([layer.need[e] for layer, e in taken])
    toll = sum(layer.toll[e] for layer, e in taken)
    rows = zip(ways, edges.tolist(), seconds, peaks, toll, strict=True)
    return [Course(tuple(w), tuple(e), float(s), int(p), float(n)) for w, e, s, p, n in rows]


def course(trellis: Trellis, edges: Sequence[int]) -> Course:
    """The course along one edge of each layer."""
    return courses(trellis, np.array([edges]))[0]


def fastest(trellis: Trellis, limit: int | None = None, price: float = 0.0) -> Course:
    """The course of least time within `limit` bytes; NoCourseError where there is none.

    With a `price`, of least seconds + price * toll.
    """
    within = None if limit is None else np.array([limit])
    layers = priced(trellis, price).layers
    tables = forward(layers, np.zeros((1, 1)), within)
    if not np.isfinite(tables[-1]).all():
        raise NoCourseError("nothing fits" if limit is None else f"nothing fits in {size_text(limit)}")
    edges = traced(layers, tables, np.zeros(1, np.int64), within)
    return courses(trellis, np.stack(edges, axis=1))[0]


def traced(
    layers: Sequence[Layer], tables: Sequence[Floats], state: Ints, limits: Ints | None = None
) -> list[Ints]:
    """The edge of each layer on the fastest course to a `state`, one for each column of `forward`."""
    edges: list[Ints] = []
    for layer, before in zip(reversed(layers), reversed(tables[:-1]), strict=True):
        totals = _totals(layer, before, limits)
        totals[layer.target[:, None] != state] = np.inf
        edges.append(totals.argmin(axis=0))
        state = layer.source[edges[-1]]
    return edges[::-1]


def priced(trellis: Trellis, price: float) -> Trellis:
    """The trellis with seconds + price * toll for seconds."""
    if not price:
        return trellis
    priced = (replace(x, seconds=x.seconds + price * x.toll) for x in trellis.layers)
    return replace(trellis, layers=tuple(priced))


def least_peak(trellis: Trellis) -> int:
    """The smallest arena, in bytes, that any plan needs."""
    now = np.zeros(1, np.int64)
    for layer in trellis.layers:
        now = np.minimum.reduceat(np.maximum(now[layer.source], layer.need), layer.starts)
    return int(now[0])


def within_bytes(trellis: Trellis, limit: int) -> Trellis:
    """The courses that need at most `limit` bytes; NoCourseError where there is none."""
    try:
        return restricted(trellis, [layer.need <= limit for layer in trellis.layers])
    except NoCourseError:
        raise NoCourseError(f"nothing fits in {size_text(limit)}") from None


def within_seconds(trellis: Trellis, seconds: float) -> Trellis:
    """The edges that lie on a course of at most `seconds`; NoCourseError where there is none."""
    ahead, behind = forward(trellis.layers, np.zeros((1, 1))), backward(trellis)
    most = seconds * (1 + TIES)
    rows = zip(trellis.layers, ahead[:-1], behind[1:], strict=True)
    return restricted(trellis, [a[x.source, 0] + x.seconds + b[x.target] <= most for x, a, b in rows])
