"""Ranges from histograms: where to clip, so that 8 bits lose least.

Each method takes a histogram and gives (low, high), real numbers with
low <= high. `minmax` and `percentile` may leave zero outside, to which
`ranges.quant_of` widens.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .histogram import SIDE, Histogram

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Range = tuple[float, float]

LEVELS = 256
"""Values that a quantized element can take."""

_CANDIDATES = 256
_SMOOTHING = 1e-4


def minmax(histogram: Histogram) -> Range:
    """The least and the largest value: nothing is clipped."""
    return histogram.low, histogram.high


def percentile(histogram: Histogram, percent: float = 99.99) -> Range:
    """The narrowest bins' edges such that at most 100 - `percent` percent of the values lie beyond either."""
    total = histogram.total
    beyond = int(total * (100 - Fraction(str(percent))) / 100)
    if not total:
        return 0.0, 0.0
    low, _ = histogram.bin_of_rank(beyond)
    _, high = histogram.bin_of_rank(total - 1 - beyond)
    return max(low, histogram.low), min(high, histogram.high)


# Squared error -------------------------------------------------------------------------------------


def _bins_used(extreme: float, width: float) -> int:
    """Bins between zero and the edge beyond `extreme`; 0 where the side is empty."""
    return int(extreme / width) + 1 if extreme > 0 else 0


def _clipped(histogram: Histogram, low_bins: int, high_bins: int) -> Range:
    """The range of so many bins on each side of zero, cut where the values end."""
    width = histogram.width
    return max(-low_bins * width, min(histogram.low, 0.0)), min(high_bins * width, max(histogram.high, 0.0))


def _thresholds(extreme: float, width: float) -> Ints:
    """Bin edges from 1 to that beyond `extreme`, counted from zero; only 0 where the side is empty."""
    last = _bins_used(extreme, width)
    return (
        np.unique(np.linspace(1, last, _CANDIDATES).round().astype(np.int64))
        if last > 0
        else np.zeros(1, int)
    )


def _clipping(counts: Ints, width: float, edges: Ints) -> tuple[Floats, Floats]:
    """For one side (counts outwards from zero), at each edge: squared error of clipping, and what is left."""
    centres = (np.arange(len(counts)) + 0.5) * width
    moments = [np.append(np.cumsum((counts * centres**p)[::-1])[::-1], 0.0)[edges] for p in (0, 1, 2)]
    at = edges * width
    error = moments[2] - 2 * at * moments[1] + at**2 * moments[0]
    return np.maximum(error, 0.0), counts.sum() - moments[0]


def mse(histogram: Histogram) -> Range:
    """The range of least expected squared error: of clipping, and step^2 / 12 of rounding inside.

    Both ends are chosen together from up to 256 each. Zeros cost nothing,
    for they are represented exactly.
    """
    width = histogram.width
    highs, lows = _thresholds(histogram.high, width), _thresholds(-histogram.low, width)
    above, right = _clipping(histogram.counts[SIDE:], width, highs)
    below, left = _clipping(histogram.counts[:SIDE][::-1], width, lows)
    step = (highs[:, None] + lows) * width / (LEVELS - 1)
    error = above[:, None] + below + (right[:, None] + left) * step**2 / 12
    i, j = np.unravel_index(int(np.argmin(error)), error.shape)
    return _clipped(histogram, int(lows[j]), int(highs[i]))


# Entropy -------------------------------------------------------------------------------------------


def _coarse(counts: Ints) -> Floats:
    """`counts` as 256 levels would tell them: each level's sum spread evenly over its non-empty bins."""
    starts = np.linspace(0, len(counts), LEVELS, endpoint=False).astype(np.int64)
    filled = np.add.reduceat((counts > 0).astype(np.float64), starts)
    mean = np.add.reduceat(counts.astype(np.float64), starts) / np.maximum(filled, 1)
    return np.repeat(mean, np.diff(np.append(starts, len(counts)))) * (counts > 0)


def _divergence(counts: Ints, first: int, last: int) -> float:
    """KL divergence of the clipped distribution in bins [first, last) from its 256 levels."""
    inside = counts[first:last]
    clipped = inside.astype(np.float64)
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    support = clipped > 0
    levels = _coarse(inside)[support]
    if not levels.any():
        return np.inf
    p = clipped[support] / clipped.sum()
    q = (1 - _SMOOTHING) * levels / levels.sum() + _SMOOTHING / len(levels)
    return float(np.sum(p * np.log(p / q)))


def entropy(histogram: Histogram) -> Range:
    """The symmetric clipping of least KL divergence, as TensorRT's calibrator (Migacz, GTC 2017).

    The distribution, outliers moved into the last bins, is compared with itself
    in 256 levels. A side without values has none of the levels. Zeros are left
    out: they are exact in every range, and would outweigh everything.
    """
    highest = _bins_used(histogram.high, histogram.width)
    lowest = _bins_used(-histogram.low, histogram.width)
    sides, widest = (highest > 0) + (lowest > 0), max(highest, lowest)
    if widest * sides <= LEVELS:
        return _clipped(histogram, lowest, highest)
    narrowest = -(-LEVELS // sides)
    tried = np.unique(np.linspace(narrowest, widest, _CANDIDATES // 2).round().astype(np.int64))
    sizes = [(min(int(t), lowest), min(int(t), highest)) for t in tried]
    found = [_divergence(histogram.counts, SIDE - low, SIDE + high) for low, high in sizes]
    return _clipped(histogram, *sizes[int(np.argmin(found))])


METHODS: dict[str, Callable[[Histogram], Range]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}
