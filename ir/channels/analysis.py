"""Which elements of a graph hang together, and which of them something fixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..graph import Operator
from .components import Components, Ids
from .model import Place
from .relations import Choice, Numbering, Reason, Relations, said_of

Mask = NDArray[np.bool_]
FREE = -1


@dataclass(frozen=True, eq=False)
class Made:
    """Elements along an axis (by number) of an operator's result that no computed operand brings."""

    operator: Operator
    axis: int
    ids: Ids


def made(relations: Relations) -> Iterator[Made]:
    """Where the elements of a graph come from, in order; constants are not looked at."""
    numbering = relations.numbering
    for op in relations.graph.operators:
        for axis in range(op.result.type.rank) if op.result not in relations.static else ():
            number = numbering.number[Place(op.result), axis]
            ids = numbering.ids(number)
            brought = relations.carried[ids]
            if not brought.all():
                yield Made(op, number, ids[~brought])


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
        self._one_axis_each()
        self.fixed = self._fixed()
        self.made = tuple(made(relations))

    @cached_property
    def spared(self) -> Mask:
        """By label: whether all sums that the component is a term of do without any term."""
        found = np.zeros(self.numbering.size, np.bool_)
        for number in self.relations.spared:
            found[self.along(number)] = True
        for _, _, number in self.relations.summed:
            if number not in self.relations.spared:
                found[self.along(number)] = False
        return found

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
            first[self.along(reason.axis) if reason.ids is None else self.labels[reason.ids]] = at
        for _ in range(len(self.relations.follows)):  # what is needed by what stays must stay
            before = first.copy()
            for cause, effect in self.needs():
                np.minimum.at(first, cause, first[effect])
            if np.array_equal(before, first):
                break
        found = first[self.labels]
        return np.where(found == count, FREE, found)

    def needs(self) -> Iterator[tuple[Ids, Ids]]:
        """Labels of causes and effects of the kind `needs`."""
        for follow in self.relations.follows:
            if follow.kind == "needs":
                yield self.labels[follow.cause], self.labels[follow.effect]

    def _choose(self, choice: Choice) -> None:
        fixed = self._fixed()
        alive = {k: bool((fixed[self.numbering.ids(k)] == FREE).any()) for k in choice.axes}
        chosen = next((o for o in choice.options if alive[o[0]] and alive[o[1]]), None)
        if chosen is not None:
            self._components.join(chosen[2], chosen[3])
        followed = chosen[:2] if chosen is not None else ()
        self.reasons += [Reason(k, choice.text) for k in choice.axes if k not in followed]

    def _keep_last_ones(self) -> None:
        """A component that is all of an axis stays, since nothing would be left, unless that is spared."""
        spared = self.spared
        for number, (place, axis) in enumerate(self.numbering.axes):
            found = self.along(number)
            if len(found) and (found == found[0]).all() and not spared[found[0]]:
                self.reasons.append(Reason(number, _nothing_left(place, axis)))

    def _one_axis_each(self) -> None:
        """An operator makes channels along one axis, the last possible: a decision lists these alone."""
        last: dict[Operator, Made] = {}
        free = [m for m in made(self.relations) if (self.fixed[m.ids] == FREE).any()]
        for one in free:
            last[one.operator] = one
        for one in free:
            if one is not last[one.operator]:
                axis = self.numbering.axes[last[one.operator].axis][1]
                text = said_of(one.operator, f"makes channels along axis {axis}, and so no others")
                self.reasons.append(Reason(one.axis, text, one.ids))


def _nothing_left(place: Place, axis: int) -> str:
    """Why a component stays that is all of an axis: a sentence."""
    value, maker = place.value, place.value.producer
    if place.reader is not None:
        reads = said_of(place.reader, f"reads as operand {place.port}")
        return f"nothing would be left of axis {axis} of '{value.name}', which {reads}"
    makes = said_of(maker, "makes") if maker is not None else f"the graph input '{value.name}' is"
    return f"nothing would be left of axis {axis} of what {makes}"
