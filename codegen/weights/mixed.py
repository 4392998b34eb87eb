"""Each weight told from those before it: the least bytes, and far from the fastest.

A tensor is gone through as filters, channels and taps, from wherever they lie in it. What is expected of the
next weight (`runtime/mixed.h`) is learnt on the way, from a start that other networks taught, so that a
stream has no table, only a head of some two bytes, coded like the weights. Of 1x1 filters one axis of up to
64 is taken for the taps, so that what its numbers tell of each other is found by least squares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from .codec import Bytes, Codec, Shape, require
from .native import Told, decode_mixed, encode_mixed
from .orders import ACROSS, DOWN, MOST_AXES, Order, orders
from .planes import is_noise

_SAMPLES = ((2048, 6), (16384, 2))
"""Weights by which ways to go through a tensor are judged, and how many are kept beside the first."""
_MOST_JUDGED = 1 << 16
"""Weights by which the numbers of a head are chosen."""
_MEANS = 29
"""Codes of a mean, the last of which stands for 512."""
_SHARES = (0.05, 0.35, 0.7)
"""Of the weights that are zero: between two of them the model has one start (`mixed_learnt.h`)."""
_CHOICES = 4
_SHORT, _LONG = 11, 64
"""Taps along an axis of a kernel, and of channels or filters that are taken for taps, at most."""


@dataclass(frozen=True)
class Head:
    """What a stream begins with.

    `mean` is the code of the mean of sizes that are not zero, `zeros` the number of the model's start;
    `ridge` says how little taps are trusted to tell of each other, `pace` how fast opinions are weighed anew
    at first.
    """

    order: Order
    largest: int
    mean: int
    zeros: int
    ridge: int = 0
    pace: int = 1

    @property
    def told(self) -> Told:
        """As `head_of` of `runtime/encode_mixed.c` reads it."""
        axes = len(self.order.shape)
        numbers = [self.largest, self.mean, self.zeros, self.ridge, self.pace, axes]
        found = np.zeros(len(numbers) + 2 * MOST_AXES, np.uint32)
        found[: len(numbers)] = numbers
        found[len(numbers) :][:axes] = self.order.kinds
        found[len(numbers) + MOST_AXES :][:axes] = self.order.shape
        return found

    def others(self, name: str) -> Iterator[Head]:
        """Those with other numbers of that name: of the choices, or a mean beside it."""
        own = getattr(self, name)
        known = (own - 1, own + 1) if name == "mean" else range(_CHOICES)
        most = _MEANS if name == "mean" else _CHOICES
        for number in known:
            if number != own and 0 <= number < most:
                given: dict[str, Any] = {name: number}
                yield replace(self, **given)


class Mixed(Codec):
    """Payload: decisions by a range coder, those about the head first."""

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        axes = sum(extent > 1 for extent in shape)
        if not len(data) or axes > MOST_AXES or is_noise(data):
            return None
        return _encoded(data.tobytes(), shape)

    def decode(self, payload: bytes, count: int) -> Bytes:
        found = decode_mixed(payload, count)
        require(found is not None, "it does not come to its end")
        assert found is not None
        return found


def head_of(data: Bytes, order: Order) -> Head:
    """The head of a stream of these bytes."""
    sizes = np.abs(data.view(np.int8).astype(np.int64))
    there = sizes[sizes > 0]
    mean = 4 * float(there.mean()) if len(there) else 4.0
    zeros = sum(len(data) - len(there) > share * len(data) for share in _SHARES)
    return Head(order, int(sizes.max()), _mean_code(mean), zeros, 2 if _is_long(order) else 0)


def _mean_code(quarters: float) -> int:
    """The nearest of four steps an octave, from 4 on."""
    return min(range(_MEANS), key=lambda code: abs(((4 + code % 4) << code // 4) - quarters))


def _is_long(order: Order) -> bool:
    """Whether an axis is taken for taps that is none of a kernel."""
    return any(e > _SHORT for e, kind in zip(order.shape, order.kinds, strict=True) if kind in (DOWN, ACROSS))


@lru_cache(maxsize=1)
def _encoded(content: bytes, shape: Shape) -> bytes:
    """A size is asked for before the stream is, so the last payload is kept."""
    data = np.frombuffer(content, np.uint8)
    first, *others = (head_of(data, order) for order in orders(shape, _LONG))
    early, late = _SAMPLES
    short = _least(data, (head for head in others if not _is_long(head.order)), *early)
    kept = _least(data, [*short, *(head for head in others if _is_long(head.order))], *late)
    return _settled(data, _least(data, (first, *kept), len(data), 1)[0])


def _least(data: Bytes, heads: Iterable[Head], most: int, kept: int) -> list[Head]:
    """The heads by which the first `most` bytes take the least."""
    return sorted(heads, key=lambda head: len(encode_mixed(head.told, data, min(most, len(data)))))[:kept]


def _settled(data: Bytes, head: Head) -> bytes:
    """The payload by the numbers of a head that make it the shortest, chosen one after the other."""
    some = min(_MOST_JUDGED, len(data))
    best = encode_mixed(head.told, data, some)
    for name in ("pace", "ridge", "mean", "mean", "pace"):
        for other in head.others(name):
            found = encode_mixed(other.told, data, some)
            if len(found) < len(best):
                best, head = found, other
    return best if some == len(data) else encode_mixed(head.told, data, len(data))
