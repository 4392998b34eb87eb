"""From components of elements to groups: units that lie along the same axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph, Operator
from .analysis import FREE, Analysis, Made, Mask
from .components import Ids
from .dependencies import follows_of
from .model import NONE, Channels, Frozen, Group, Member
from .relations import Relations


def find_channels(graph: Graph) -> Channels:
    """The groups of channels of a graph, and which channels are frozen and why."""
    analysis = Analysis(Relations(graph))
    makers = _makers(analysis)
    numbers = _Numbers.of(analysis, makers)
    groups = tuple(_groups(analysis, makers, numbers))
    follows = None
    if analysis.relations.follows:
        follows = follows_of(analysis, numbers.through(groups), sum(g.size for g in groups))
    return Channels(groups, tuple(_frozen(analysis)), follows)


# What is frozen ------------------------------------------------------------------------------------


def _frozen(analysis: Analysis) -> Iterator[Frozen]:
    """Of each result whose channels depend on constants (on filters, say) those that must stay."""
    numbering, constant = analysis.numbering, _of_constants(analysis)
    for one in analysis.made:
        stuck = one.ids[(analysis.fixed[one.ids] != FREE) & constant[analysis.labels[one.ids]]]
        if len(stuck) and numbering.extents[one.axis] > 1:
            place, axis = numbering.axes[one.axis]
            reason = analysis.reasons[analysis.fixed[stuck[0]]].text
            yield Frozen(place.value, axis, stuck - numbering.starts[one.axis], reason)


def _of_constants(analysis: Analysis) -> Mask:
    """By label: whether the component has elements of a constant."""
    found = np.zeros(analysis.numbering.size, np.bool_)
    for number, (place, _) in enumerate(analysis.numbering.axes):
        if place.value.is_constant:
            found[analysis.along(number)] = True
    return found


# Groups --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Numbers:
    """By label: the number of its group, or `NONE`, and its unit there, in the makers' order."""

    group: Ids
    unit: Ids

    @staticmethod
    def of(analysis: Analysis, makers: Mapping[bytes, Sequence[Made]]) -> _Numbers:
        group = np.full(analysis.numbering.size, NONE, np.int64)
        unit = np.full(analysis.numbering.size, NONE, np.int64)
        for at, parts in enumerate(makers.values()):
            labels = analysis.labels[np.concatenate([one.ids for one in parts])]
            _, first = np.unique(labels, return_index=True)
            ordered = labels[np.sort(first)]
            group[ordered], unit[ordered] = at, np.arange(len(ordered))
        return _Numbers(group, unit)

    def units(self, labels: Ids, group: int) -> NDArray[np.int32]:
        """The units of one group, `NONE` for others."""
        return np.where(self.group[labels] == group, self.unit[labels], NONE).astype(np.int32)

    def through(self, groups: Sequence[Group]) -> Ids:
        """By label: the unit counted through all groups; as many as there are where it is none."""
        starts = np.cumsum([0, *(g.size for g in groups)])
        return np.where(self.group == NONE, starts[-1], starts[self.group] + self.unit)


def _groups(analysis: Analysis, makers: Mapping[bytes, Sequence[Made]], numbers: _Numbers) -> Iterator[Group]:
    names: set[str] = set()
    for at, (signature, parts) in enumerate(makers.items()):
        axes = np.frombuffer(signature, np.int64).tolist()
        members = tuple(_member(analysis, number, at, numbers) for number in axes)
        own = set(axes)
        users = dict.fromkeys(op for op, _, number in analysis.relations.summed if number in own)
        operators = tuple(dict.fromkeys(one.operator for one in parts))
        size = int(np.count_nonzero(numbers.group == at))
        spared = bool(analysis.spared[analysis.labels[parts[0].ids[0]]])
        yield Group(_unique(_name(operators[0]), names), size, members, operators, tuple(users), spared)


def _member(analysis: Analysis, number: int, group: int, numbers: _Numbers) -> Member:
    place, axis = analysis.numbering.axes[number]
    return Member(place, axis, numbers.units(analysis.along(number), group))


def _makers(analysis: Analysis) -> dict[bytes, list[Made]]:
    """For each signature of components that may go, in order: who makes their elements."""
    signatures = _signatures(analysis)
    found: dict[bytes, list[Made]] = {}
    for one in analysis.made:
        by_signature: dict[bytes, list[int]] = {}
        for element, label in zip(one.ids.tolist(), analysis.labels[one.ids].tolist(), strict=True):
            if label in signatures:
                by_signature.setdefault(signatures[label], []).append(element)
        for signature, ids in by_signature.items():
            part = Made(one.operator, one.axis, np.array(ids, np.int64))
            found.setdefault(signature, []).append(part)
    return found


def _signatures(analysis: Analysis) -> dict[int, bytes]:
    """For each component that may go: the numbers of the axes that it lies along."""
    numbering, free = analysis.numbering, analysis.fixed == FREE
    axis_of = np.repeat(np.arange(len(numbering.axes)), numbering.extents)
    pairs = np.unique(analysis.labels[free] * len(numbering.axes) + axis_of[free])
    of, axes = np.divmod(pairs, max(1, len(numbering.axes)))
    labels, starts = np.unique(of, return_index=True)
    ends = np.append(starts, len(pairs))[1:]
    return {int(x): axes[i:j].tobytes() for x, i, j in zip(labels, starts, ends, strict=True)}


def _name(op: Operator) -> str:
    name = op.loc or op.result.name or op.name
    return f"{name}/carried" if op.name == "nn.carry" else name


def _unique(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}#{count}"
    taken.add(name)
    return name
