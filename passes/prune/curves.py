"""What keeping the most important units of a group loses, and which units these are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.ir.channels import Channels, Group
from secateur.ir.errors import SecateurError

from .criteria.criterion import Ranking

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Curve:
    """A group that may lose units: `order` has them by falling importance, and keeping the first k of
    them loses `loss[k]` (size + 1 losses; the last is 0 and none is below a later one)."""

    group: Group
    order: Ints
    loss: Floats

    def __post_init__(self) -> None:
        size = self.group.size
        if sorted(self.order.tolist()) != list(range(size)) or self.loss.shape != (size + 1,):
            raise ValueError(f"'{self.group.name}' has {size} units; order or losses do not fit")
        if self.loss[-1] != 0 or (np.diff(self.loss) > 0).any() or not np.isfinite(self.loss[1:]).all():
            raise ValueError(f"'{self.group.name}': losses must fall to 0 as more is kept")

    def gone(self, kept: int) -> tuple[int, ...]:
        """The units that go where so many are kept."""
        return tuple(sorted(self.order[kept:].tolist()))


def curve(group: Group, importance: Floats) -> Curve:
    """The curve where what is lost is the sum of the importance of what goes (none of it negative)."""
    if importance.shape != (group.size,) or not (importance >= 0).all() or not np.isfinite(importance).all():
        raise SecateurError(f"group '{group.name}': importance must be {group.size} finite numbers from 0 on")
    order = np.argsort(-importance, kind="stable").astype(np.int64)
    falling = np.cumsum(importance[order][::-1])[::-1]
    return Curve(group, order, np.append(falling, 0.0))


def curves(channels: Channels, importance: Mapping[str, Floats]) -> tuple[Curve, ...]:
    """The curves of the groups that have an importance; others keep all their units.

    SecateurError for a name that is no group's.
    """
    unknown = [name for name in importance if name not in channels.by_name]
    if unknown:
        raise SecateurError(f"there is no group '{unknown[0]}' to be important")
    return tuple(curve(g, importance[g.name]) for g in channels.groups if g.name in importance)


def ranked(channels: Channels, rankings: Mapping[str, Ranking]) -> tuple[Curve, ...]:
    """The curves of the groups that a criterion has ranked; others keep all their units."""
    return tuple(
        Curve(g, rankings[g.name].order[::-1].astype(np.int64), rankings[g.name].losses[::-1].copy())
        for g in channels.groups
        if g.name in rankings
    )


def transferred(given: tuple[Curve, ...], groups: Sequence[Group]) -> dict[str, Curve]:
    """The curves of a graph's groups as those of `groups`, of the graph that fusion made of it, by old names.

    A group is found again by the ONNX nodes of its makers and by its size; one that is not is left out, and
    keeps all its units.
    """
    found: dict[str, Curve] = {}
    taken: set[Group] = set()
    for old in given:
        nodes = _nodes(old.group)
        alike = (g for g in groups if g.size == old.group.size and g not in taken)
        group = next((g for g in alike if nodes & _nodes(g)), None)
        if group is not None:
            taken.add(group)
            found[old.group.name] = Curve(group, old.order, old.loss)
    return found


def _nodes(group: Group) -> set[str]:
    return {node for op in group.makers for node in op.loc.split("+") if node}
