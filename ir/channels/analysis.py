"""Which elements of a graph hang together, and which of them something fixes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .components import Components, Ids
from .relations import Choice, Numbering, Reason, Relations

Mask = NDArray[np.bool_]
FREE = -1


class Analysis:
    """`labels` names each element's component; `fixed` has the number of the first reason that fixes one
    of the component, or `FREE`.
    """

    def __init__(self, relations: Relations) -> None:
        self.relations = relations
        self.numbering: Numbering = relations.numbering
        self.reasons: list[Reason] = list(relations.reasons)
        self._components = Components(self.numbering.size)
        self._join(relations.pairs)
        for choice in relations.choices:  # in order, so that what one fixes decides the next
            self._choose(choice)
        self._keep_last_ones()
        self.fixed = self._fixed()

    @property
    def labels(self) -> Ids:
        return self._components.labels

    def along(self, number: int) -> Ids:
        """The components along an axis."""
        return self.labels[self.numbering.ids(number)]

    def _join(self, pairs: Sequence[tuple[Ids, Ids]]) -> None:
        if pairs:
            a, b = zip(*pairs, strict=True)
            self._components.join(np.concatenate(a), np.concatenate(b))

    def _fixed(self) -> Ids:
        count = len(self.reasons)
        first = np.full(self.numbering.size, count, np.int64)
        for at, reason in reversed(list(enumerate(self.reasons))):
            first[self.along(reason.axis)] = at
        found = first[self.labels]
        return np.where(found == count, FREE, found)

    def _choose(self, choice: Choice) -> None:
        fixed = self._fixed()
        alive = {k: bool((fixed[self.numbering.ids(k)] == FREE).any()) for k in choice.axes}
        chosen = next((o for o in choice.options if alive[o[0]] and alive[o[1]]), None)
        if chosen is not None:
            self._components.join(chosen[2], chosen[3])
        followed = chosen[:2] if chosen is not None else ()
        self.reasons += [Reason(k, choice.text) for k in choice.axes if k not in followed]

    def _keep_last_ones(self) -> None:
        """A component that is all of an axis stays: nothing would be left of the axis."""
        for number, (place, axis) in enumerate(self.numbering.axes):
            found, value = self.along(number), place.value
            if len(found) and (found == found[0]).all():
                name = value.name or (value.producer.loc if value.producer else "")
                self.reasons.append(Reason(number, f"axis {axis} of '{name}' would lose all that it has"))
