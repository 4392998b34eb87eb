"""How the axes of operators that move data depend on each other (see `ir.axes`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..axes import OUT, Axes, Axis, Fixed, Free, Indices, Narrowing, OneOf, Ports, Relation, Tie
from .axes import broadcast_axes, elementwise_relations, equal_axes, spread
from .rules import Shape

CONSTANT = Axes(lambda ports: [Free(Axis(OUT, a)) for a in range(ports.result.rank)], "")
RELAYOUT = Axes(elementwise_relations, "")


def _new_shape(n: Narrowing) -> Mapping[str, Any]:
    return {"shape": n.shape(OUT)}


def _expand(ports: Ports) -> Iterator[Relation]:
    """An element may be repeated less often."""
    yield from broadcast_axes(ports, 0)
    yield from (Free(Axis(OUT, axis)) for axis in range(ports.result.rank))


EXPAND = Axes(_expand, "", _new_shape)


# Reshape: runs of axes whose products agree ----------------------------------------------------------

Run = tuple[tuple[int, ...], tuple[int, ...]]
"""Axes of the operand, and axes of the result that hold the same elements."""


def runs(before: Shape, after: Shape) -> Iterator[Run]:
    """The shortest runs of axes longer than 1 that hold the same elements, in order."""
    a = [i for i, d in enumerate(before) if d != 1]
    b = [i for i, d in enumerate(after) if d != 1]
    while a and b:
        left, right, old, new = before[a[0]], after[b[0]], [a.pop(0)], [b.pop(0)]
        while left != right:
            if left < right:
                left, old = left * before[a[0]], [*old, a.pop(0)]
            else:
                right, new = right * after[b[0]], [*new, b.pop(0)]
        yield tuple(old), tuple(new)


def _factor(shape: Shape, axes: Sequence[int], at: int) -> Indices:
    """For each element of the run of axes the index along axis `at`."""
    return np.unravel_index(np.arange(int(np.prod([shape[a] for a in axes]))), [shape[a] for a in axes])[
        list(axes).index(at)
    ].astype(np.int64)


def _reshape(ports: Ports) -> Iterator[Relation]:
    """Of an axis that is split, the innermost factor is followed first: a shuffle splits channels into
    (groups, channels of each), and all groups must stay equally large, so that each loses the same places.
    Merged axes are followed by whichever is not fixed, for a flattened image its channels.
    """
    before, after = ports.types[0].shape, ports.result.shape
    if 0 in before or 0 in after:
        return
    for old, new in runs(before, after):
        if len(old) == len(new) == 1:
            yield Tie(Axis(0, old[0]), Axis(OUT, new[0]))
        elif len(old) == 1 or len(new) == 1:
            yield _one_factor(before, after, old, new)


def _one_factor(before: Shape, after: Shape, old: tuple[int, ...], new: tuple[int, ...]) -> OneOf:
    axes = (*(Axis(0, a) for a in old), *(Axis(OUT, a) for a in new))
    if len(old) == 1:
        ties = [Tie(Axis(0, old[0]), Axis(OUT, a), None, _factor(after, new, a)) for a in reversed(new)]
    else:
        ties = [Tie(Axis(0, a), Axis(OUT, new[0]), _factor(before, old, a), None) for a in old]
    return OneOf(tuple(ties), axes, "reshapes axes of which only one can lose channels")


RESHAPE = Axes(_reshape, "reshapes axis {axis} across the borders of others", _new_shape)


# Transpose, tile, concat -----------------------------------------------------------------------------


def _transpose(ports: Ports) -> Iterator[Relation]:
    for axis, source in enumerate(ports["perm"]):
        yield Tie(Axis(0, source), Axis(OUT, axis))


TRANSPOSE = Axes(_transpose, "")


def _tile(ports: Ports) -> Iterator[Relation]:
    for axis, (extent, repeats) in enumerate(zip(ports.types[0].shape, ports["repeats"], strict=True)):
        yield Tie(Axis(0, axis), Axis(OUT, axis), spread(repeats, extent)[1], None)


TILE = Axes(_tile, "")


def _concat(ports: Ports) -> Iterator[Relation]:
    joined, at = ports["axis"] % ports.result.rank, 0
    for port, type in enumerate(ports.types):
        extent = type.shape[joined]
        yield Tie(Axis(port, joined), Axis(OUT, joined), None, at + np.arange(extent))
        yield from equal_axes(port, [a for a in range(type.rank) if a != joined])
        at += extent


CONCAT = Axes(_concat, "")


# Slice, gather, pad ----------------------------------------------------------------------------------


def _slice(ports: Ports) -> Iterator[Relation]:
    for axis, taken in enumerate(zip(ports["starts"], ports["sizes"], ports["steps"], strict=True)):
        source, result = _sliced(*taken)
        yield Tie(Axis(0, axis), Axis(OUT, axis), source, result)


def _sliced(start: int, size: int, step: int) -> tuple[Indices, Indices]:
    """Pairs of an operand's index and the result's; what a step leaps over goes with what it leaps from."""
    taken = start + step * np.arange(size)
    leaps = np.arange(abs(step)) * (1 if step > 0 else -1)
    sources = (taken[:, None] + leaps).reshape(-1)
    results = np.repeat(np.arange(size), abs(step))
    inner = (results < size - 1) | (sources == start + step * (size - 1))
    return sources[inner], results[inner]


def _slice_attributes(n: Narrowing) -> Mapping[str, Any]:
    starts = [
        int(np.searchsorted(n.kept(0, axis), start + step * n.kept(OUT, axis)[0]))
        if len(n.kept(OUT, axis))
        else 0
        for axis, (start, step) in enumerate(zip(n["starts"], n["steps"], strict=True))
    ]
    return {"starts": tuple(starts), "sizes": n.shape(OUT)}


SLICE = Axes(_slice, "", _slice_attributes)


def _gather(ports: Ports) -> Iterator[Relation]:
    """Picked by constants, channels may go; the indices are numbered anew."""
    axis, (x, picks) = ports["axis"] % ports.types[0].rank, ports.types
    yield from equal_axes(0, range(axis))
    for at in range(axis + 1, x.rank):
        yield Tie(Axis(0, at), Axis(OUT, at + picks.rank - 1))
    constant = ports.constants[1]
    for at in range(picks.rank):
        yield Tie(Axis(1, at), Axis(OUT, axis + at))
    if constant is not None and constant.ndim == 1:
        yield Tie(Axis(0, axis), Axis(OUT, axis), constant.astype(np.int64) % x.shape[axis], None)
    else:
        yield Fixed(Axis(0, axis), f"picks from axis {axis} by indices that are no constant list")


def _renumbered(n: Narrowing) -> Mapping[int, NDArray[Any]]:
    axis, picks = n["axis"] % n.ports.types[0].rank, n.ports.constants[1]
    if picks is None or n.whole(0, axis):
        return {}
    kept, extent = n.kept(0, axis), n.ports.types[0].shape[axis]
    chosen = picks[n.kept(1, 0)] % extent if picks.ndim == 1 else picks % extent
    return {1: np.searchsorted(kept, chosen).astype(picks.dtype)}


GATHER = Axes(_gather, "", constants=_renumbered)


def _pad(ports: Ports) -> Iterator[Relation]:
    rank, pads = ports.result.rank, ports["pads"]
    for axis, extent in enumerate(ports.types[0].shape):
        begin, end = pads[axis], pads[rank + axis]
        if max(begin, end) > 0 and ports["mode"] != "constant":
            yield Fixed(Axis(0, axis), f"repeats what lies at the border along axis {axis}")
            yield Fixed(Axis(OUT, axis), f"repeats what lies at the border along axis {axis}")
            continue
        inside = np.arange(max(0, -begin), extent + min(0, end))
        yield Tie(Axis(0, axis), Axis(OUT, axis), inside, inside + begin)


def _pad_attributes(n: Narrowing) -> Mapping[str, Any]:
    x, rank, pads = n.ports.types[0], n.ports.result.rank, n["pads"]
    begins = [_side(pads[a], n.kept(0, a), n.kept(OUT, a)) for a in range(rank)]
    ends = [
        _side(pads[rank + a], x.shape[a] - 1 - n.kept(0, a), n.ports.result.shape[a] - 1 - n.kept(OUT, a))
        for a in range(rank)
    ]
    return {"pads": (*begins, *ends)}


def _side(pad: int, operand: Indices, result: Indices) -> int:
    """What is padded (or cut, below 0) at one side, given the distances from it of what stays."""
    return int((result < pad).sum()) if pad > 0 else -int((operand < -pad).sum())


PAD = Axes(_pad, "", _pad_attributes)


# Resize, blocks --------------------------------------------------------------------------------------


def _resize(ports: Ports) -> Iterator[Relation]:
    crops = ports["coordinates"] == "tf_crop_and_resize"
    for axis, (before, after) in enumerate(zip(ports.types[0].shape, ports["shape"], strict=True)):
        if before == after and ports["scales"][axis] == 1 and not crops:
            yield Tie(Axis(0, axis), Axis(OUT, axis))


RESIZE = Axes(_resize, "interpolates along axis {axis}", _new_shape)


def _blocks(mode: str, channels: int, block: int) -> Indices:
    """Of depth_to_space, for each channel of the operand the channel of the result."""
    taps = block * block
    return spread(taps, channels)[1] if mode == "DCR" else spread(channels, taps)[0]


def _depth_to_space(ports: Ports) -> Iterator[Relation]:
    of = _blocks(ports["mode"], ports.result.shape[1], ports["block"])
    yield Tie(Axis(0, 0), Axis(OUT, 0))
    yield Tie(Axis(0, 1), Axis(OUT, 1), None, of)


def _space_to_depth(ports: Ports) -> Iterator[Relation]:
    of = _blocks(ports["mode"], ports.types[0].shape[1], ports["block"])
    yield Tie(Axis(0, 0), Axis(OUT, 0))
    yield Tie(Axis(0, 1), Axis(OUT, 1), of, None)


DEPTH_TO_SPACE = Axes(_depth_to_space, "spreads blocks of channels along axis {axis}")
SPACE_TO_DEPTH = Axes(_space_to_depth, "gathers blocks of pixels along axis {axis}")


def _grid_sample(_ports: Ports) -> Iterator[Relation]:
    yield from equal_axes(0, (0, 1))
    yield from equal_axes(1, (0,))


GRID_SAMPLE = Axes(_grid_sample, "interpolates along axis {axis}")
