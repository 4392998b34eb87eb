"""Sweeps over a trellis: least time under limits on memory, least memory, the frontier between them.

All are exact up to the rounding of sums of seconds in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .problem import Plan
from .trellis import Floats, Ints, Layer, NoCourseError, Trellis, restricted

TIES = 1e-12
"""Times that differ by less, as a share of them, count as equal: sums in another order differ so."""

_CHUNK = 1 << 20  # numbers in an array over limits and edges


def forward(trellis: Trellis, limits: Ints | None = None) -> list[Floats]:
    """Least seconds to each state of each layer, the start's first, a column for each limit on need (bytes).

    Without limits there is one column.
    """
    found: list[Floats] = [np.zeros((1, 1 if limits is None else len(limits)))]
    for layer in trellis.layers:
        found.append(_advanced(layer, found[-1], limits))
    return found


def _advanced(layer: Layer, before: Floats, limits: Ints | None) -> Floats:
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


def least_seconds(trellis: Trellis, limits: Ints) -> Floats:
    """The least seconds under each limit on the arena's bytes; infinite where nothing fits."""
    widest = max(len(layer.source) for layer in trellis.layers)
    size = max(1, _CHUNK // widest)
    parts = [limits[i : i + size] for i in range(0, len(limits), size)]
    return np.concatenate([_last(trellis, part) for part in parts])


def _last(trellis: Trellis, limits: Ints) -> Floats:
    now = np.zeros((1, len(limits)))
    for layer in trellis.layers:
        now = _advanced(layer, now, limits)
    return now.ravel()


@dataclass(frozen=True)
class Course:
    """One way through the trellis, by the number of its edge in each layer, and its costs."""

    plan: Plan
    edges: tuple[int, ...]
    seconds: float
    peak: int
    noise: float


def courses(trellis: Trellis, edges: Ints) -> list[Course]:
    """The courses along one edge of each layer, a row of `edges` each."""
    taken = list(zip(trellis.layers, edges.T, strict=True))
    ways = np.stack([layer.way[e] for layer, e in taken], axis=1)[:, :-1].tolist()
    seconds = sum(layer.seconds[e] for layer, e in taken)
    peaks = np.maximum.reduce([layer.need[e] for layer, e in taken])
    noise = sum(layer.noise[e] for layer, e in taken)
    rows = zip(ways, edges.tolist(), seconds, peaks, noise, strict=True)
    return [Course(tuple(w), tuple(e), float(s), int(p), float(n)) for w, e, s, p, n in rows]


def course(trellis: Trellis, edges: Sequence[int]) -> Course:
    """The course along one edge of each layer."""
    return courses(trellis, np.array([edges]))[0]


def fastest(trellis: Trellis, limit: int | None = None, price: float = 0.0) -> Course:
    """The course of least time within `limit` bytes; NoCourseError where there is none.

    With a `price`, of least seconds + price * noise.
    """
    found = _best_edges(priced(trellis, price), None if limit is None else np.array([limit]))
    if found is None:
        raise NoCourseError(f"nothing fits in {limit} bytes")
    return courses(trellis, found)[0]


def fastest_each(trellis: Trellis, limits: Sequence[int]) -> list[Course]:
    """The course of least time within each limit; NoCourseError where some limit has none."""
    size = max(1, _CHUNK // max(len(layer.source) for layer in trellis.layers) // 8)
    found: list[Course] = []
    for first in range(0, len(limits), size):
        edges = _best_edges(trellis, np.array(limits[first : first + size]))
        if edges is None:
            raise NoCourseError(f"nothing fits in {min(limits)} bytes")
        found += courses(trellis, edges)
    return found


def _best_edges(trellis: Trellis, limits: Ints | None) -> Ints | None:
    """The edges of the fastest course within each limit, a row each; None where some limit has none."""
    costs = forward(trellis, limits)
    if not np.isfinite(costs[-1]).all():
        return None
    state = np.zeros(costs[-1].shape[1], np.int64)
    edges: list[Ints] = []
    for layer, before in zip(reversed(trellis.layers), reversed(costs[:-1]), strict=True):
        totals = _totals(layer, before, limits)
        totals[layer.target[:, None] != state] = np.inf
        edges.append(totals.argmin(axis=0))
        state = layer.source[edges[-1]]
    return np.stack(edges[::-1], axis=1)


def priced(trellis: Trellis, price: float) -> Trellis:
    """The trellis with seconds + price * noise for seconds."""
    if not price:
        return trellis
    priced = (replace(x, seconds=x.seconds + price * x.noise) for x in trellis.layers)
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
        raise NoCourseError(f"nothing fits in {limit} bytes") from None


def within_seconds(trellis: Trellis, seconds: float) -> Trellis:
    """The edges that lie on a course of at most `seconds`; NoCourseError where there is none."""
    ahead, behind = forward(trellis), backward(trellis)
    most = seconds * (1 + TIES)
    rows = zip(trellis.layers, ahead[:-1], behind[1:], strict=True)
    return restricted(trellis, [a[x.source, 0] + x.seconds + b[x.target] <= most for x, a, b in rows])


def frontier(trellis: Trellis) -> list[Course]:
    """The courses that none beats in seconds or peak without losing in the other, by rising peak.

    Least seconds fall in steps as the limit rises. Between two limits of equal seconds there is no step;
    between others the middle one of the limits that some edge needs is tried, all such at once.
    """
    smallest, largest = least_peak(trellis), fastest(trellis).peak
    slowest = float(least_seconds(trellis, np.array([smallest]))[0])
    trellis = within_seconds(within_bytes(trellis, largest), slowest)
    needs = np.unique(np.concatenate([layer.need for layer in trellis.layers]))
    limits = needs[needs >= smallest]
    known = dict(_evaluated(trellis, limits, [0, len(limits) - 1]))
    gaps = [(0, len(limits) - 1)]
    while gaps := [(a, b) for a, b in gaps if b - a > 1 and known[b] < known[a] * (1 - TIES)]:
        middles = [(a + b) // 2 for a, b in gaps]
        known.update(_evaluated(trellis, limits, middles))
        gaps = [g for (a, b), m in zip(gaps, middles, strict=True) for g in ((a, m), (m, b))]
    return fastest_each(trellis, _steps([(int(limits[i]), known[i]) for i in sorted(known)]))


def _evaluated(trellis: Trellis, limits: Ints, numbers: Sequence[int]) -> list[tuple[int, float]]:
    return list(zip(numbers, map(float, least_seconds(trellis, limits[list(numbers)])), strict=True))


def _steps(points: Sequence[tuple[int, float]]) -> list[int]:
    """The limits at which seconds fall."""
    limits, least = [points[0][0]], points[0][1]
    for limit, seconds in points[1:]:
        if seconds < least * (1 - TIES):
            limits.append(limit)
            least = seconds
    return limits
