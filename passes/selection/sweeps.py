"""Sweeps over a trellis: least time under limits on memory, least memory, the frontier between them.

All are exact up to the rounding of sums of seconds in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .problem import Plan
from .trellis import Floats, Ints, Layer, NoCourseError, Trellis, restricted

TIES = 1e-12
"""Times that differ by less, as a share of them, count as equal: sums in another order differ so."""

_CHUNK = 1 << 20  # numbers in an array over limits and edges


def forward(trellis: Trellis, limits: Ints | None = None) -> list[Floats]:
    """Least seconds to each state of each layer, the start's first, one row for each limit on need (bytes).

    Without limits there is one row.
    """
    rows = 1 if limits is None else len(limits)
    found: list[Floats] = [np.zeros((rows, 1))]
    for layer in trellis.layers:
        found.append(_advanced(layer, found[-1], limits))
    return found


def _advanced(layer: Layer, before: Floats, limits: Ints | None) -> Floats:
    total = before[:, layer.source] + layer.seconds
    if limits is not None:
        total[layer.need > limits[:, None]] = np.inf
    reduced: Floats = np.minimum.reduceat(total, layer.starts, axis=1)
    return reduced


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
    now = np.zeros((len(limits), 1))
    for layer in trellis.layers:
        now = _advanced(layer, now, limits)
    return now[:, 0]


def fastest(trellis: Trellis, limit: int | None = None) -> Plan:
    """The fastest plan that needs no more than `limit` bytes; NoCourseError where there is none."""
    costs = forward(trellis, None if limit is None else np.array([limit]))
    if not np.isfinite(costs[-1][0, 0]):
        raise NoCourseError(f"nothing fits in {limit} bytes")
    ways, state = [], 0
    for layer, before in zip(reversed(trellis.layers), reversed(costs[:-1]), strict=True):
        edges = np.flatnonzero(layer.target == state)
        totals = before[0, layer.source[edges]] + layer.seconds[edges]
        if limit is not None:
            totals[layer.need[edges] > limit] = np.inf
        best = edges[totals.argmin()]
        ways.append(int(layer.way[best]))
        state = int(layer.source[best])
    return tuple(ways[-1:0:-1])


def least_peak(trellis: Trellis) -> int:
    """The smallest arena, in bytes, that any plan needs."""
    now = np.zeros(1, np.int64)
    for layer in trellis.layers:
        now = np.minimum.reduceat(np.maximum(now[layer.source], layer.need), layer.starts)
    return int(now[0])


def within_seconds(trellis: Trellis, seconds: float) -> Trellis:
    """The edges that lie on a course of at most `seconds`; NoCourseError where there is none."""
    ahead, behind = forward(trellis), backward(trellis)
    most = seconds * (1 + TIES)
    return restricted(
        trellis.layers,
        [
            before[0, layer.source] + layer.seconds + after[layer.target] <= most
            for layer, before, after in zip(trellis.layers, ahead, behind[1:], strict=False)
        ],
    )


def frontier(trellis: Trellis) -> list[tuple[int, float]]:
    """Every (peak bytes, seconds) that no plan beats in one without losing in the other, by rising peak.

    Least seconds fall in steps as the limit rises. Between two limits of equal seconds there is no step;
    between others the middle one of the limits that some edge needs is tried, all such at once.
    """
    smallest = least_peak(trellis)
    slowest = float(least_seconds(trellis, np.array([smallest]))[0])
    trellis = within_seconds(trellis, slowest)
    needs = np.unique(np.concatenate([layer.need for layer in trellis.layers]))
    limits = needs[needs >= smallest]
    known = dict(_evaluated(trellis, limits, [0, len(limits) - 1]))
    gaps = [(0, len(limits) - 1)]
    while gaps := [(a, b) for a, b in gaps if b - a > 1 and known[b] < known[a] * (1 - TIES)]:
        middles = [(a + b) // 2 for a, b in gaps]
        known.update(_evaluated(trellis, limits, middles))
        gaps = [g for (a, b), m in zip(gaps, middles, strict=True) for g in ((a, m), (m, b))]
    return _steps([(int(limits[i]), known[i]) for i in sorted(known)])


def _evaluated(trellis: Trellis, limits: Ints, numbers: Sequence[int]) -> list[tuple[int, float]]:
    return list(zip(numbers, map(float, least_seconds(trellis, limits[list(numbers)])), strict=True))


def _steps(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The points where seconds fall."""
    kept = [points[0]]
    for limit, seconds in points[1:]:
        if seconds < kept[-1][1] * (1 - TIES):
            kept.append((limit, seconds))
    return kept
