"""Streams that were made before in this process: compilations that follow each other have most in common."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np

from .streams import Array, Codecs, encode

MOST_BYTES = 256 << 20
"""Of streams that are remembered; those that were asked for last stay."""


class Streams:
    """Streams by what they are made of."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most, self._held = most, 0
        self._known: OrderedDict[tuple[Codecs, str, bytes, bytes], bytes] = OrderedDict()

    def of(self, array: Array, codec: Codecs, table: bytes = b"") -> bytes:
        """As `encode` makes it; KeyError for a name of no codec."""
        digest = hashlib.sha256(np.ascontiguousarray(array).data).digest()
        key = (codec, f"{array.dtype} {array.shape}", digest, table)
        if key not in self._known:
            self._known[key] = encode(array, codec, table)
            self._held += len(self._known[key])
        self._known.move_to_end(key)
        while self._held > self._most and len(self._known) > 1:
            self._held -= len(self._known.popitem(last=False)[1])
        return self._known[key]


_STREAMS = Streams()
stream_of = _STREAMS.of
