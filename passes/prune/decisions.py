"""Decisions in the IR: attribute `pruned` of an operator lists the channels of its result that go.

Every operator that makes channels of a group (`Group.makers`) says so for its own, so that a text
can be read and edited; all makers of a group must agree.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from secateur.ir.channels import NONE, Channels, Group, Member, find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.opdef import PRUNED

from .remove import Gone


def decide(graph: Graph, gone: Gone, channels: Channels | None = None) -> None:
    """Writes the decision that `gone` (group name -> units) goes into the graph, over any before.

    `channels` are the graph's own. SecateurError where a group or a unit is not known.
    """
    channels = channels or find_channels(graph)
    for op in graph.operators:
        op.attributes.pop(PRUNED, None)
    for name, units in gone.items():
        group = channels.group(name)
        group.check_units(units)
        for op in group.makers if units else ():
            going = np.flatnonzero(np.isin(_member(group, op).units, list(units)))
            op.attributes[PRUNED] = tuple(sorted({*op.get(PRUNED, ()), *going.tolist()}))


def decided(graph: Graph, channels: Channels | None = None) -> dict[str, list[int]]:
    """What the graph's attributes say goes: group name -> units, ascending.

    SecateurError: a channel that does not exist or must stay, makers of a group that do not agree.
    """
    channels = channels or find_channels(graph)
    for op in graph.operators:
        if PRUNED in op.attributes:
            _check(op, channels)
    found = {group.name: sorted(_units(group)) for group in channels.groups}
    return {name: units for name, units in found.items() if units}


def _member(group: Group, op: Operator) -> Member:
    """The axis along which the operator makes the group's channels."""
    return group.member(op.result)


def _check(op: Operator, channels: Channels) -> None:
    """SecateurError where the operator marks what it does not make, or what must stay."""
    made = [_member(g, op) for g in channels.groups if op in g.makers]
    free = {i for m in made for i in np.flatnonzero(m.units != NONE).tolist()}
    wrong = next((i for i in op[PRUNED] if i not in free), None)
    if wrong is not None:
        raise SecateurError(f"{_said(op)}: channel {wrong} cannot be pruned: {_why(op, wrong, channels)}")


def _why(op: Operator, index: int, channels: Channels) -> str:
    frozen = next((f for f in channels.frozen if f.value is op.result and index in f.indices), None)
    return frozen.reason if frozen is not None else "it makes no such channel"


def _said(op: Operator) -> str:
    return f"'{op.loc or op.result.name}' ({op.name})"


def _units(group: Group) -> set[int]:
    """The units that go; SecateurError where an index of theirs stays."""
    going: dict[int, Operator] = {}
    staying: dict[int, Operator] = {}
    for op, index, unit in _made(group):
        (going if index in op.get(PRUNED, ()) else staying).setdefault(unit, op)
    for unit, op in going.items():
        if unit in staying:
            raise SecateurError(_disagreement(group, unit, op, staying[unit]))
    return set(going)


def _made(group: Group) -> Iterator[tuple[Operator, int, int]]:
    """Each channel that an operator makes of the group: operator, index, unit."""
    for op in group.makers:
        units = _member(group, op).units.tolist()
        yield from ((op, index, unit) for index, unit in enumerate(units) if unit != NONE)


def _disagreement(group: Group, unit: int, going: Operator, staying: Operator) -> str:
    def indices(op: Operator) -> str:
        found = np.flatnonzero(_member(group, op).units == unit).tolist()
        return f"channel{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"

    return (
        f"group '{group.name}': {_said(going)} prunes {indices(going)}, which go together with "
        f"{indices(staying)} of {_said(staying)}; mark all of them, or none"
    )
