"""Units and groups of channels: what can be removed from a graph, and what cannot and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import SecateurError
from ..graph import Operator, Value
from ..support.words import known_names
from .follows import Follows

NONE = -1
"""In `Member.units`: an index along the axis that is no unit of the group."""


@dataclass(frozen=True)
class Place:
    """A value; a constant as `reader` reads it, as operand number `port`.

    A constant that several operators read is one of several equal ones for each, for which channels may go
    there. Sharing is no dependency: constants are shared wherever they happen to be equal.
    """

    value: Value
    reader: Operator | None = None
    port: int = 0


@dataclass(frozen=True, eq=False)
class Member:
    """An axis of a value along which a group's units lie: `units[i]` is the unit of index i, or `NONE`."""

    place: Place
    axis: int
    units: NDArray[np.int32]

    @property
    def value(self) -> Value:
        return self.place.value


@dataclass(frozen=True, eq=False)
class Group:
    """`size` units that lie along the same axes of the same values; each can be removed alone.

    A unit is, for example, one filter with all that depends on it. `makers` are the operators whose
    results have channels of the group that no operand brings, such as convolutions; `users` those that
    sum over them. The name is the location of the first maker. Where it is `spared`, all units may go.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    makers: tuple[Operator, ...]
    users: tuple[Operator, ...]
    spared: bool = False

    def member(self, value: Value) -> Member:
        """The first member that is an axis of `value`; KeyError where there is none."""
        found = next((m for m in self.members if m.value is value), None)
        if found is None:
            raise KeyError(f"%{value.name} has no channels of group '{self.name}'")
        return found

    def check_units(self, units: Collection[int]) -> None:
        """SecateurError where one is no unit of the group."""
        strange = [u for u in units if not 0 <= u < self.size]
        if strange:
            raise SecateurError(f"group '{self.name}' has units 0 to {self.size - 1}, not {strange[0]}")


@dataclass(frozen=True, eq=False)
class Frozen:
    """Channels `indices` along an axis of a value that must stay, and why: a sentence."""

    value: Value
    axis: int
    indices: NDArray[np.int64]
    reason: str


@dataclass(frozen=True, eq=False)
class Channels:
    """Every group of a graph in the order of their first makers, and the channels that are frozen."""

    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    follows: Follows | None = None  # between units, counted through all groups; None: no dependencies

    def closure(self, gone: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
        """All that goes where `gone` (group name -> units) goes, ascending; SecateurError as `group`."""
        for name, units in gone.items():
            self.group(name).check_units(units)
        masks = [np.isin(np.arange(g.size), list(gone.get(g.name, ()))) for g in self.groups]
        if self.follows is not None:
            whole = self.follows.closure(np.concatenate([*masks, [False]]))
            masks = np.split(whole[:-1], np.cumsum([g.size for g in self.groups])[:-1])
        found = zip(self.groups, masks, strict=True)
        return {g.name: np.flatnonzero(mask).tolist() for g, mask in found if mask.any()}

    @cached_property
    def by_name(self) -> Mapping[str, Group]:
        return {group.name: group for group in self.groups}

    def group(self, name: str) -> Group:
        """The group called `name`; SecateurError where there is none."""
        found = self.by_name.get(name)
        if found is None:
            raise SecateurError(f"there is no group '{name}'{known_names(name, self.by_name)}")
        return found
