"""The oracle is worth something: whatever an operator declares wrongly makes it fail."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from secateur.ir.axes import OUT, Axis, Fixed, Free, OneOf, Ports, Relation, Summed, Tie
from secateur.ir.channels.relations import Relations, axes_of, port_value, ports_of
from secateur.ir.graph import Operator

from ...sampled import sampled
from .closed import Closed, Example, check_closed
from .examples import ELEMENTWISE, LINEAR, MOVEMENT, NORMALIZED, QUANTIZED, RECURRENT, REDUCED

SEEDS = range(16)
EXAMPLES = (*ELEMENTWISE[-6:], *LINEAR, *MOVEMENT, *REDUCED, *NORMALIZED, *QUANTIZED, *RECURRENT)
NAMED = {f"{number} {example.name}": example for number, example in enumerate(EXAMPLES)}


def turned(relation: Relation, ports: Ports) -> Relation | None:
    """What is wrong in a plausible way: each element tied to its neighbour's partner, a sum that is none;
    None where the relation says nothing that could be wrong.
    """
    if isinstance(relation, OneOf):
        return replace(relation, options=tuple(_tied(o, ports) or o for o in relation.options))
    if isinstance(relation, Tie):
        return _tied(relation, ports)
    return Free(relation.at) if isinstance(relation, Summed) else None


def _tied(tie: Tie, ports: Ports) -> Tie | None:
    i = np.arange(ports.extent(tie.a)) if tie.i is None else tie.i
    j = np.arange(ports.extent(tie.b)) if tie.j is None else tie.j
    return replace(tie, i=i, j=np.roll(j, 1)) if tie.a != tie.b and len(set(i.tolist())) > 1 else None


def broken(op: Operator) -> list[list[Relation]]:
    """What the operator declares, once with each relation wrong."""
    ports = ports_of(op)
    right = list(op.definition.axes.relations(ports))
    wrong = [(k, turned(r, ports)) for k, r in enumerate(right)]
    return [[*right[:k], w, *right[k + 1 :]] for k, w in wrong if w is not None]


def all_axes(ports: Ports) -> list[Axis]:
    ranks = {OUT: ports.result.rank, **{k: t.rank for k, t in enumerate(ports.types)}}
    return [Axis(port, axis) for port, rank in ranks.items() for axis in range(rank)]


def freed(at: Axis, ports: Ports) -> list[Relation]:
    """The axis may go: with the result's where that is as long, else alone."""
    there = Axis(OUT, at.axis)
    same = at.port != OUT and at.axis < ports.result.rank and ports.extent(at) == ports.extent(there)
    return [Tie(at, there)] if same else [Free(at)]


def declare(op: Operator, relations: Iterable[Relation]) -> None:
    found = tuple(relations)
    op.definition = replace(op.definition, axes=replace(op.definition.axes, relations=lambda _: found))


def is_caught(example: Example, relations: list[Relation]) -> bool:
    for seed in SEEDS:
        closed = Closed(example, seed)
        declare(closed.operator, relations)
        try:
            check_closed(closed, seed)
        except (AssertionError, ValueError):
            return True
    return False


@pytest.mark.parametrize("name", sampled(NAMED, [*NAMED][::2]))
def test_a_wrong_dependency_is_caught(name: str) -> None:
    example = NAMED[name]
    wrong = broken(Closed(example).operator)
    assert [k for k, relations in enumerate(wrong) if not is_caught(example, relations)] == []


@pytest.mark.parametrize("name", sampled(NAMED, [*NAMED][1::2]))
def test_an_axis_that_is_wrongly_free_is_caught(name: str) -> None:
    """An operator that fixes an axis, by words or by silence, and then ties or sums it."""
    example = NAMED[name]
    closed = Closed(example)
    op, static = closed.operator, Relations(closed.graph).static
    ports = ports_of(op)
    right = [r for r in op.definition.axes.relations(ports) if not isinstance(r, Fixed)]
    known = {at for r in right for at in axes_of(r)}
    for at in all_axes(ports):
        alone = port_value(op, at.port) in static  # nothing makes channels of a constant's axis
        if at not in known and ports.extent(at) > 1 and not alone:
            assert is_caught(example, [*right, *freed(at, ports)]), at
