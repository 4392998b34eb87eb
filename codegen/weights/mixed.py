"""Each weight told from those before it: the least bytes, and far from the fastest.

A tensor is gone through as filters, channels and taps, from wherever they lie in it. What is expected of the
next weight (`runtime/mixed.h`) is learnt on the way, so that a stream has no table, only a head of
some ten bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import ClassVar

import numpy as np

from .codec import Bytes, Codec, Shape, require
from .native import decode_mixed, encode_mixed
from .planes import is_noise

MOST_AXES = 6
_FILTER, _CHANNEL, _DOWN, _ACROSS = range(4)
_LARGEST_TAP = 11
"""Taps along an axis of a kernel, at most, where others do not say it better."""
_SAMPLES = ((2048, 6), (16384, 2))
"""Weights by which ways to go through a tensor are judged, and how many are kept beside the first."""
_MEANS = 113
"""Codes of a mean, the last of which stands for 512."""
_DENSE = 0.05
"""Of the weights are zero at most, or zeros count as more than numbers among others."""


@dataclass(frozen=True)
class Order:
    """What each axis of a tensor stands for; those of a kind are gone through as they lie."""

    shape: Shape
    kinds: tuple[int, ...]

    def head(self, largest: int, mean: int, dense: bool) -> bytes:
        """As `rt_mixed_read_head` reads it."""
        first = len(self.shape) | dense << 3 | self.kinds[0] << 4
        axes = [_axis(kind, extent) for extent, kind in zip(self.shape[1:], self.kinds[1:], strict=True)]
        return bytes([first]) + b"".join(axes) + bytes([largest, _mean_code(mean)])


def _axis(kind: int, extent: int) -> bytes:
    """Two bits and five of the extent, then seven a byte; the highest bit says that more follow."""
    parts, rest = [kind | (extent & 31) << 2], extent >> 5
    while rest:
        parts[-1] |= 128
        parts.append(rest & 127)
        rest >>= 7
    return bytes(parts)


def _mean_code(mean: int) -> int:
    """The nearest of sixteen steps an octave, from 4 on."""
    return min(range(_MEANS), key=lambda code: abs((((16 + code % 16) << code // 16) >> 2) - mean))


def orders(shape: Shape) -> Iterator[Order]:
    """The ways to go through a tensor: which axes are taps, and of the others which are filters."""
    shape = tuple(extent for extent in shape if extent > 1) or (1,)
    for taps in _taps(shape):
        others = [axis for axis in range(len(shape)) if axis not in taps]
        for kinds in product((_FILTER, _CHANNEL), repeat=len(others)):
            if len(set(kinds)) == min(len(others), 2):
                known = dict(zip(others, kinds, strict=True)) | taps
                yield Order(shape, tuple(known[axis] for axis in range(len(shape))))


def _taps(shape: Shape) -> list[dict[int, int]]:
    """Two axes side by side that are small, or one, or none."""
    small = [axis for axis, extent in enumerate(shape) if extent <= _LARGEST_TAP]
    pairs = [{axis: _DOWN, axis + 1: _ACROSS} for axis in small if axis + 1 in small]
    return [*(pairs or [{axis: _ACROSS} for axis in small]), {}]


class Mixed(Codec):
    """Payload: a head (`Order.head`), then what a range coder makes of the decisions."""

    granularity: ClassVar[str] = "byte"

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


@lru_cache(maxsize=1)
def _encoded(content: bytes, shape: Shape) -> bytes:
    """A size is asked for before the stream is, so the last payload is kept."""
    data = np.frombuffer(content, np.uint8)
    sizes = np.abs(data.view(np.int8).astype(np.int64))
    there = sizes[sizes > 0]
    mean = min(max(round(4 * float(there.mean())), 4), 512) if len(there) else 4
    dense = len(there) >= (1 - _DENSE) * len(data)
    heads = [order.head(int(sizes.max()), mean, dense) for order in orders(shape)]
    first, *others = heads
    for most, kept in _SAMPLES:
        others = sorted(others, key=lambda head: len(encode_mixed(head, data, min(most, len(data)))))[:kept]
    return min((head + encode_mixed(head, data, len(data)) for head in (first, *others)), key=len)
