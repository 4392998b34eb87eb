"""How carried channels and sums of channels depend on what they are made of (see `ir.axes`): one way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..axes import OUT, Axes, Axis, Follow, Indices, Narrowing, Ports, Relation, Summed
from ..ranges import indices_of, ranges_of, shared_out
from .axes import equal_axes

CHANNELS = 1


def _others(ports: Ports, port: int) -> Iterator[Relation]:
    return equal_axes(port, [a for a in range(ports.result.rank) if a != CHANNELS])


def _numbers(listed: tuple[int, ...]) -> Indices:
    return np.array(listed, np.int64)


# Carried channels: gone with what they carry ---------------------------------------------------------


def _carry(ports: Ports) -> Iterator[Relation]:
    yield from _others(ports, 0)
    picks = _numbers(indices_of(ports["ranges"]))
    yield Follow("needs", Axis(0, CHANNELS), Axis(OUT, CHANNELS), picks, np.arange(len(picks)))


def _carry_attributes(n: Narrowing) -> Mapping[str, Any]:
    picks = _numbers(indices_of(n["ranges"]))[n.kept(OUT, CHANNELS)]
    return {"ranges": ranges_of(np.searchsorted(n.kept(0, CHANNELS), picks).tolist())}


CARRY = Axes(_carry, "", _carry_attributes)


# Sums of channels: gone with all terms, and each term with its sum ------------------------------------


def _channel_sum(ports: Ports) -> Iterator[Relation]:
    for port, place in enumerate(_places(ports)):
        operand, own = Axis(port, CHANNELS), np.arange(len(place))
        yield from _others(ports, port)
        yield Summed(operand, all_of_it=True)
        yield Follow("zero", operand, Axis(OUT, CHANNELS), own, place)
        yield Follow("needs", Axis(OUT, CHANNELS), operand, place, own)


def _places(ports: Ports) -> list[Indices]:
    return [_numbers(p) for p in shared_out(ports["ranges"], [t.shape[CHANNELS] for t in ports.types])]


def _channel_sum_attributes(n: Narrowing) -> Mapping[str, Any]:
    kept = n.kept(OUT, CHANNELS)
    ranges: list[int] = []
    for port, place in enumerate(_places(n.ports)):
        ranges += ranges_of(np.searchsorted(kept, place[n.kept(port, CHANNELS)]).tolist())
    return {"channels": len(kept), "ranges": tuple(ranges)}


CHANNEL_SUM = Axes(_channel_sum, "", _channel_sum_attributes)
