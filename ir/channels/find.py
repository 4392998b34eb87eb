"""From components of elements to groups: units that lie along the same axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..graph import Graph, Operator
from .analysis import FREE, Analysis, Made, Mask
from .components import Ids
from .model import NONE, Channels, Frozen, Group, Member
from .relations import Relations


def find_channels(graph: Graph) -> Channels:
    """The groups of channels of a graph, and which channels are frozen and why."""
    analysis = Analysis(Relations(graph))
    return Channels(tuple(_groups(analysis)), tuple(_frozen(analysis)))


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


def _groups(analysis: Analysis) -> Iterator[Group]:
    makers = _makers(analysis)
    group_of, unit_of = _units(analysis, makers)
    names: set[str] = set()
    for at, (signature, parts) in enumerate(makers.items()):
        axes = np.frombuffer(signature, np.int64).tolist()
        members = tuple(_member(analysis, number, at, group_of, unit_of) for number in axes)
        own = set(axes)
        users = dict.fromkeys(op for op, _, number in analysis.relations.summed if number in own)
        operators = tuple(dict.fromkeys(one.operator for one in parts))
        size = 1 + max(int(unit_of[analysis.labels[one.ids]].max()) for one in parts)
        yield Group(_unique(_name(operators[0]), names), size, members, operators, tuple(users))


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


def _units(analysis: Analysis, makers: Mapping[bytes, Sequence[Made]]) -> tuple[Ids, Ids]:
    """By label: the number of its group, or `NONE`, and its unit there, in the makers' order."""
    group_of = np.full(analysis.numbering.size, NONE, np.int64)
    unit_of = np.full(analysis.numbering.size, NONE, np.int64)
    for at, parts in enumerate(makers.values()):
        labels = analysis.labels[np.concatenate([one.ids for one in parts])]
        _, first = np.unique(labels, return_index=True)
        ordered = labels[np.sort(first)]
        group_of[ordered], unit_of[ordered] = at, np.arange(len(ordered))
    return group_of, unit_of


def _member(analysis: Analysis, number: int, group: int, group_of: Ids, unit_of: Ids) -> Member:
    place, axis = analysis.numbering.axes[number]
    along = analysis.along(number)
    return Member(place, axis, np.where(group_of[along] == group, unit_of[along], NONE).astype(np.int32))


def _name(op: Operator) -> str:
    return op.loc or op.result.name or op.name


def _unique(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}#{count}"
    taken.add(name)
    return name
