"""In which order a file holds a tensor's elements: TFLite wants channels last, the IR has them second.

An order is a view of the IR's elements: cut into axes (`split`), and those permuted. A reshape changes no
order, a transpose only that of the view, so neither costs anything in the file until an operator asks for
another order than there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Array = NDArray[Any]


@dataclass(frozen=True)
class Order:
    """The file's axis i is axis `perm[i]` of the elements under the shape `split`; see `order` for one."""

    split: Shape
    perm: Shape

    @property
    def is_plain(self) -> bool:
        """Whether it is that of the IR."""
        return self.perm == tuple(range(len(self.perm)))

    @property
    def shape(self) -> Shape:
        """The axes as the file has them."""
        return tuple(self.split[i] for i in self.perm)

    def laid(self, array: Array) -> Array:
        """An array of the IR as the file has it, flat."""
        return np.ascontiguousarray(array.reshape(self.split).transpose(self.perm)).reshape(-1)

    def indices(self) -> NDArray[np.int64]:
        """For each element of the file its place in the IR's order."""
        return self.laid(np.arange(prod(self.split)))


def order(split: Sequence[int], perm: Sequence[int]) -> Order:
    """The order with axes of 1 left out and axes that stay together joined: equal orders are equal values."""
    kept = [i for i in perm if split[i] != 1]
    runs = list(_runs(kept, split))
    starts = sorted(run[0] for run in runs)
    sizes = {run[0]: prod(split[i] for i in run) for run in runs}
    return Order(tuple(sizes[s] for s in starts), tuple(starts.index(run[0]) for run in runs))


def _runs(kept: Sequence[int], split: Sequence[int]) -> Iterator[list[int]]:
    """Axes that follow each other in the file as they do in the IR, axes of 1 aside."""
    live = [i for i in range(len(split)) if split[i] != 1]
    run: list[int] = []
    for axis in kept:
        if run and live.index(axis) != live.index(run[-1]) + 1:
            yield run
            run = []
        run.append(axis)
    if run:
        yield run


def plain(shape: Shape) -> Order:
    return order(shape, range(len(shape)))


def channels_last(shape: Shape) -> Order:
    """Axis 1 behind all others."""
    return order(shape, (0, *range(2, len(shape)), 1))


def refined(given: Order, shape: Shape) -> tuple[Order, list[list[int]]] | None:
    """The same order cut so finely that every axis lies within one of `shape`, and those of each.

    None where an axis of the order begins or ends within one of the shape that its extent does not divide.
    """
    cuts = set(accumulate(shape, mul, initial=1))
    split: list[int] = []
    pieces: list[list[int]] = []
    at = 1
    for extent in given.split:
        inside = sorted({at, at * extent, *(c for c in cuts if at < c < at * extent)})
        if any(b % a for a, b in pairwise(inside)):
            return None
        pieces.append(list(range(len(split), len(split) + len(inside) - 1)))
        split += [b // a for a, b in pairwise(inside)]
        at *= extent
    perm = [i for axis in given.perm for i in pieces[axis]]
    groups = _grouped(split, shape)
    return None if groups is None else (Order(tuple(split), tuple(perm)), groups)


def _grouped(split: Sequence[int], shape: Shape) -> list[list[int]] | None:
    """For each axis of `shape` the axes of `split` that it consists of; None where they do not fit."""
    groups: list[list[int]] = []
    at = 0
    for extent in shape:
        group: list[int] = []
        while prod(split[i] for i in group) < extent and at < len(split):
            group.append(at)
            at += 1
        if prod(split[i] for i in group) != extent:
            return None
        groups.append(group)
    return groups


def transposed(given: Order, shape: Shape, perm: Sequence[int]) -> Order | None:
    """The order of what a transpose makes of a tensor of `shape`, in the same bytes; None where none is."""
    found = refined(given, shape)
    if found is None:
        return None
    fine, groups = found
    axes = [i for p in perm for i in groups[p]]
    place = {old: new for new, old in enumerate(axes)}
    return order([fine.split[i] for i in axes], [place[i] for i in fine.perm])
