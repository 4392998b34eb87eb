"""From what operators declare one way (`ir.axes.Follow`) to dependencies between units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..axes import Kind
from .analysis import Analysis, Mask
from .components import Ids
from .follows import Follows, Pairs


def follows_of(analysis: Analysis, number_of: Ids, size: int) -> Follows:
    """The dependencies between `size` units; `number_of` gives each label its unit, `size` for none.

    Number `size` stands for all that always stays.
    """
    needs, zero, useless = (_pairs(analysis, kind, number_of) for kind in ("needs", "zero", "useless"))
    terms = _joined((needs, zero))  # what needs something is nothing without it
    purposes = _joined((useless, Pairs(needs.effect, needs.cause)))
    made, used = _made(analysis, number_of, size), _used(analysis, number_of, size)
    return Follows(size + 1, needs, terms, purposes, made, used)


def _pairs(analysis: Analysis, kind: Kind, number_of: Ids) -> Pairs:
    found = [f for f in analysis.relations.follows if f.kind == kind]
    return _joined(
        Pairs(number_of[analysis.labels[f.cause]], number_of[analysis.labels[f.effect]]) for f in found
    )


def _joined(pairs: Iterable[Pairs]) -> Pairs:
    found = tuple(pairs)
    none = np.empty(0, np.int64)
    return Pairs(
        np.concatenate([none, *(p.cause for p in found)]), np.concatenate([none, *(p.effect for p in found)])
    )


def _units(analysis: Analysis, elements: Mask, number_of: Ids, size: int) -> Mask:
    """Units that have one of the elements; and what always stays."""
    found = np.zeros(size + 1, np.bool_)
    found[number_of[analysis.labels[elements]]] = True
    found[size] = True
    return found


def _made(analysis: Analysis, number_of: Ids, size: int) -> Mask:
    """Units with elements that an operator makes without saying of what."""
    found = np.zeros(analysis.numbering.size, np.bool_)
    for one in analysis.made:
        found[one.ids] = True
    for follow in analysis.relations.follows:
        if follow.kind != "useless":
            found[follow.effect] = False
    return _units(analysis, found, number_of, size)


def _used(analysis: Analysis, number_of: Ids, size: int) -> Mask:
    """Units with elements that an operator sums without saying for what."""
    found = np.zeros(analysis.numbering.size, np.bool_)
    for ids in _sums(analysis):
        found[ids] = True
    return _units(analysis, found, number_of, size)


def _sums(analysis: Analysis) -> Iterator[Ids]:
    for op, _, number in analysis.relations.summed:
        ids = analysis.numbering.ids(number)
        served = [f.effect for f in analysis.relations.follows if f.operator is op and f.kind == "useless"]
        yield np.setdiff1d(ids, np.concatenate(served)) if served else ids
