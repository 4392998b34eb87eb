"""Each weight told from those before it: the least bytes, and far from the fastest.

A tensor is gone through as filters, channels and taps, from wherever they lie in it. What is expected of the
next weight (`runtime/mixed.h`) is learnt on the way, from a start that other networks taught, so that a
stream has no table, only a head of some five bytes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .codec import Bytes, Codec, Shape, require
from .native import decode_mixed, encode_mixed
from .orders import MOST_AXES, Order, orders
from .planes import is_noise

_SAMPLES = ((2048, 6), (16384, 2))
"""Weights by which ways to go through a tensor are judged, and how many are kept beside the first."""
_MEANS = 29
"""Codes of a mean, the last of which stands for 512."""
_SHARES = (0.05, 0.35, 0.7)
"""Of the weights that are zero: between two of them the model has one start (`mixed_learnt.h`)."""


def _mean_code(mean: int) -> int:
    """The nearest of four steps an octave, from 4 on."""
    return min(range(_MEANS), key=lambda code: abs(((4 + code % 4) << code // 4) - mean))


def _known(largest: int, mean: int) -> bytes:
    """As `rt_mixed_read_head` reads it."""
    ones = largest.bit_length() if largest and largest & (largest + 1) == 0 else 0
    return bytes([_mean_code(mean) | ones << 5] if ones else [_mean_code(mean), largest])


class Mixed(Codec):
    """Payload: an order, a code of the mean, the largest size, then decisions by a range coder."""

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


def head_of(data: Bytes, order: Order) -> tuple[bytes, int, int]:
    """The head of a stream of these bytes, the number of the model's start, and the largest size."""
    zeros, largest, mean = _told(data)
    return order.written(zeros) + _known(largest, mean), zeros, largest


def _told(data: Bytes) -> tuple[int, int, int]:
    """The number of the start, the largest size, and the mean of sizes that are not zero, in quarters."""
    sizes = np.abs(data.view(np.int8).astype(np.int64))
    there = sizes[sizes > 0]
    mean = min(max(round(4 * float(there.mean())), 4), 512) if len(there) else 4
    return sum(len(data) - len(there) > share * len(data) for share in _SHARES), int(sizes.max()), mean


@lru_cache(maxsize=1)
def _encoded(content: bytes, shape: Shape) -> bytes:
    """A size is asked for before the stream is, so the last payload is kept."""
    data = np.frombuffer(content, np.uint8)
    zeros, largest, mean = _told(data)
    known = _known(largest, mean)
    heads = [order.written(zeros) + known for order in orders(shape)]
    first, *others = heads
    for most, kept in _SAMPLES:
        others = sorted(others, key=lambda head: len(encode_mixed(head, data, min(most, len(data)))))[:kept]
    return min((head + encode_mixed(head, data, len(data)) for head in (first, *others)), key=len)
