"""Connected components by vectors: which of many elements hang together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class Components:
    """A union-find whose `labels` give each element the smallest element that it is joined with."""

    def __init__(self, size: int) -> None:
        self.labels: Ids = np.arange(size, dtype=np.int64)

    def join(self, a: Ids, b: Ids) -> None:
        """Joins a[k] and b[k] for all k: larger roots are hung below smaller ones until none differ."""
        while len(a):
            roots_a, roots_b = self.labels[a], self.labels[b]
            apart = roots_a != roots_b
            a, b, roots_a, roots_b = a[apart], b[apart], roots_a[apart], roots_b[apart]
            low = np.minimum(roots_a, roots_b)
            np.minimum.at(self.labels, np.maximum(roots_a, roots_b), low)
            self._flatten()

    def _flatten(self) -> None:
        while not np.array_equal(shorter := self.labels[self.labels], self.labels):
            self.labels = shorter
