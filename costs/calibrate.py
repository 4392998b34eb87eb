"""Times between those that were measured: the cost model's, stretched as near kernels were, and never less
than what a smaller one took.

    seconds(p) = max(estimate(p) * stretch(p), least(q) for every measured q of the variant with q <= p)

`stretch(p)` is the geometric mean of measured over estimated time of the nearest kernels, nearer ones
counting more (inverse squares of distances between logarithms of extents; Shepard 1968): of the same variant
or, where none was measured, of the same kind. `least(q)` is the least time of q and of all measured kernels
with no smaller extent: where times do not rise with extents, the lower of the two stands. So a count that was
not measured is in no case taken because it seems faster than one with less to compute.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .kin import Kin

NEAREST = 4
"""Kernels that a stretch is the mean of."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Relatives:
    """Measured kernels whose extents compare."""

    kin: Sequence[Kin]
    seconds: Floats

    @cached_property
    def _extents(self) -> NDArray[np.int64]:
        return np.array([kin.extents for kin in self.kin], np.int64)

    @cached_property
    def _stretches(self) -> Floats:
        """Logarithms."""
        found: Floats = np.log(self.seconds / np.array([kin.estimate for kin in self.kin]))
        return found

    @cached_property
    def _least(self) -> Floats:
        extents = self._extents
        larger = (extents[None, :, :] >= extents[:, None, :]).all(axis=2)
        least: Floats = np.where(larger, self.seconds[None, :], np.inf).min(axis=1)
        return least

    def stretch(self, extents: Sequence[int]) -> float:
        """Measured over estimated time at these extents."""
        apart = np.log2(np.maximum(self._extents, 1)) - np.log2(np.maximum(extents, 1))
        squares = (apart**2).sum(axis=1)
        near = np.argsort(squares, kind="stable")[:NEAREST]
        weights = 1 / np.maximum(squares[near], 1e-6)
        return float(np.exp((weights * self._stretches[near]).sum() / weights.sum()))

    def least(self, extents: Sequence[int]) -> float:
        """What a kernel of these extents takes at least; 0 where no smaller one was measured."""
        smaller = (self._extents <= np.asarray(extents)).all(axis=1)
        return float(self._least[smaller].max(initial=0.0))


class Calibration:
    """What measured kernels say of those of their kind that were not measured."""

    def __init__(self, measured: Iterable[tuple[Kin, float]]) -> None:
        kinds: dict[str, list[tuple[Kin, float]]] = defaultdict(list)
        variants: dict[tuple[str, str], list[tuple[Kin, float]]] = defaultdict(list)
        for kin, seconds in measured:
            if kin.estimate > 0 and seconds > 0:
                kinds[kin.kind].append((kin, seconds))
                variants[kin.kind, kin.variant].append((kin, seconds))
        self._kinds = {kind: _relatives(found) for kind, found in kinds.items()}
        self._variants = {variant: _relatives(found) for variant, found in variants.items()}

    def seconds(self, kin: Kin) -> float | None:
        """Of a kernel; None where none of its kind was measured."""
        variant = self._variants.get((kin.kind, kin.variant))
        relatives = variant or self._kinds.get(kin.kind)
        if relatives is None:
            return None
        stretched = kin.estimate * relatives.stretch(kin.extents)
        return max(stretched, variant.least(kin.extents)) if variant else stretched


def _relatives(found: Sequence[tuple[Kin, float]]) -> Relatives:
    kin, seconds = zip(*found, strict=True)
    return Relatives(kin, np.array(seconds))
