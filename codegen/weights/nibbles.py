"""Two weights a look-up: their high bits by rANS as one symbol, their low bits as they are.

Weights with a scale for each channel are spread wide: sixteen neighbouring values are about as frequent as
each other, so that a code for the low bits would save next to nothing. Without them a pair is one byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from .bits import as_bytes, pack_fixed, unpack_fixed
from .codec import Bytes, Codec, Shape, require
from .rans import Rans

LOW_BITS = (0, 2, 4)
"""Of a weight that are written as they are."""
_HEAD = 5


class Nibbles(Codec):
    """Payload: how many low bits a weight has, the length of the pairs' stream (4 bytes), that stream as of
    `Rans`, the low bits.

    A pair's byte has the first weight's high bits in its lower half. Behind an odd last weight is 0.
    """

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        return _encoded(data.tobytes()) if len(data) else None

    def decode(self, payload: bytes, count: int) -> Bytes:
        require(len(payload) >= _HEAD and payload[0] in LOW_BITS, "its head is wrong")
        bits, end = payload[0], _HEAD + int.from_bytes(payload[1:_HEAD], "little")
        require(end <= len(payload) and len(payload) - end == -(-count * bits // 8), "its length is wrong")
        pairs = Rans().decode(payload[_HEAD:end], (count + 1) // 2)
        high = np.stack([pairs & 15, pairs >> 4], 1).reshape(-1)[:count]
        low = unpack_fixed(payload[end:], count, bits).astype(np.uint8)
        signed = (high.astype(np.uint8) ^ np.uint8(8)) - np.uint8(8)
        return signed << np.uint8(bits) | low


@lru_cache(maxsize=1)
def _encoded(content: bytes) -> bytes | None:
    """The least by number of low bits; None where weights have too many high ones."""
    return min(_ways(as_bytes(content)), key=len, default=None)


def _ways(data: Bytes) -> Iterator[bytes]:
    values = data.view(np.int8).astype(np.int64)
    for bits in LOW_BITS:
        high = values >> bits
        if high.min() >= -8 and high.max() <= 7:
            halves = np.append(high & 15, np.zeros(len(high) % 2, np.int64)).reshape(-1, 2)
            pairs = (halves[:, 0] | halves[:, 1] << 4).astype(np.uint8)
            stream = Rans().encode(pairs, pairs.shape)
            assert stream is not None, "there are weights"
            low = pack_fixed(values & ((1 << bits) - 1), bits) if bits else b""
            yield bytes([bits]) + len(stream).to_bytes(4, "little") + stream + low
