"""Each weight told from those before it: the least bytes, and far from the fastest.

A tensor is gone through as filters, channels and taps, from wherever they lie in it. What is expected of the
next weight (`runtime/mixed.h`) is learnt on the way, so that a stream has no table, only a head of
some ten bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np

from .codec import Bytes, Codec, Shape, require
from .native import decode_mixed, encode_mixed
from .orders import MOST_AXES, orders
from .planes import is_noise

_SAMPLES = ((2048, 6), (16384, 2))
"""Weights by which ways to go through a tensor are judged, and how many are kept beside the first."""
_MEANS = 113
"""Codes of a mean, the last of which stands for 512."""
_DENSE = 0.05
"""Of the weights are zero at most, or zeros count as more than numbers among others."""


def _mean_code(mean: int) -> int:
    """The nearest of sixteen steps an octave, from 4 on."""
    return min(range(_MEANS), key=lambda code: abs((((16 + code % 16) << code // 16) >> 2) - mean))


class Mixed(Codec):
    """Payload: an order, the largest size, a code of the mean, then what a range coder makes of decisions."""

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
    known = bytes([int(sizes.max()), _mean_code(mean)])
    heads = [order.written(dense) + known for order in orders(shape)]
    first, *others = heads
    for most, kept in _SAMPLES:
        others = sorted(others, key=lambda head: len(encode_mixed(head, data, min(most, len(data)))))[:kept]
    return min((head + encode_mixed(head, data, len(data)) for head in (first, *others)), key=len)
