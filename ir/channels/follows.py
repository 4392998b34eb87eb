"""One-way dependencies between units: what else goes, given what goes.

Ties make units; these relate whole units, and so know nothing of operators:

* `needs`: the effect cannot be without the cause, and goes when the cause goes.
* `zero`: the effect is a sum of its causes, and goes when all of them are gone; unless something that
  stays makes it too (`made`).
* `useless`: the effect serves its causes alone, and goes when all of them are gone; unless something else
  uses it (`used`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .components import Ids

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Causes and effects, one pair at each index; units by number."""

    cause: Ids
    effect: Ids


@dataclass(frozen=True, eq=False)
class Follows:
    """The one-way dependencies between `size` units; `made` and `used` are by unit."""

    size: int
    needs: Pairs
    zero: Pairs
    useless: Pairs
    made: Mask
    used: Mask

    def closure(self, gone: Mask) -> Mask:
        """All that goes where `gone` goes: the least set with it that every dependency agrees with."""
        while True:
            more = gone.copy()
            more[self.needs.effect[gone[self.needs.cause]]] = True
            more |= self._all_gone(self.zero, gone) & ~self.made
            more |= self._all_gone(self.useless, gone) & ~self.used
            if np.array_equal(more, gone):
                return gone
            gone = more

    def _all_gone(self, pairs: Pairs, gone: Mask) -> Mask:
        """Effects that have causes, all of which are gone."""
        causes = np.bincount(pairs.effect, minlength=self.size)
        left = np.bincount(pairs.effect[~gone[pairs.cause]], minlength=self.size)
        return np.asarray((causes > 0) & (left == 0))
