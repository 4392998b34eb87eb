"""A decision: units of groups that go, and what that leaves of every axis."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from ..axes import Axis, Indices, Narrowing
from ..errors import SecateurError
from ..graph import Operator, Value
from .model import Channels, Group, Place
from .relations import place_of, ports_of

Mask = NDArray[np.bool_]


class Cut:
    """What goes from each axis of each value where `gone` (group name -> units) goes, and what follows it.

    SecateurError: an unknown group, a unit that it does not have, or an axis of which nothing is left and
    that is not spared.
    """

    def __init__(self, channels: Channels, gone: Mapping[str, Collection[int]]) -> None:
        self._gone: dict[tuple[Place, int], Mask] = {}
        needed: set[tuple[Place, int]] = set()
        for name, units in channels.closure(gone).items():
            group = channels.group(name)
            self._add(group, units)
            needed |= set() if group.spared else {(m.place, m.axis) for m in group.members}
        for (place, axis), mask in self._gone.items():
            if mask.all() and (place, axis) in needed:
                raise SecateurError(
                    f"nothing would be left of axis {axis} of {place.value!r}; keep one channel of it"
                )

    def _add(self, group: Group, units: Collection[int]) -> None:
        goes = np.zeros(group.size + 1, np.bool_)  # the last one is for NONE, which is -1
        goes[list(units)] = True
        for member in group.members:
            mask = goes[member.units]
            if mask.any():
                key = member.place, member.axis
                self._gone[key] = self._gone.get(key, np.zeros(len(mask), np.bool_)) | mask

    def gone(self, where: Place | Value, axis: int) -> Mask:
        """Which indices of an axis of a value go; of a constant, at the place where it is read."""
        place = where if isinstance(where, Place) else Place(where)
        found = self._gone.get((place, axis))
        return np.zeros(place.value.type.shape[axis], np.bool_) if found is None else found

    def kept(self, where: Place | Value, axis: int) -> Indices:
        """The indices of an axis that stay, ascending."""
        return np.flatnonzero(~self.gone(where, axis))

    def touches(self, place: Place) -> bool:
        """Whether the value loses anything there."""
        return any((place, axis) in self._gone for axis in range(place.value.type.rank))

    def narrowing(self, op: Operator) -> Narrowing:
        """What the operator's rule of attributes sees."""

        def kept_of(at: Axis) -> Indices:
            return self.kept(place_of(op, at.port), at.axis)

        return Narrowing(ports_of(op), kept_of)
