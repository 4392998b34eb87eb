"""What a codec of weights is, and what is wrong with a stream that no encoder made.

A codec works on bytes: the elements of a tensor of one-byte elements in C order, or one byte of each element
of a wider type (`streams`). Decoding gives the same bytes back. What a decoder needs besides the number of
bytes (tables, block sizes, states) is in the payload, so that its length is what a codec costs; but for what
the streams of a network have in common (`network`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import SecateurError

Bytes = NDArray[np.uint8]
Shape = tuple[int, ...]


class StreamError(SecateurError):
    """Coded bytes that are damaged: no encoder writes such."""


class Codec(ABC):
    """Stateless; its row in the table of `registry` gives its name and its number in streams."""

    def given(self, table: bytes) -> Codec:
        """The codec by what a network's streams have in common; itself where it makes nothing of it."""
        return self

    @abstractmethod
    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        """The payload of `data`, one-dimensional, in C order of a tensor of `shape`.

        None where the codec cannot hold it, or where it is plain that storing it as it is takes less.
        """

    @abstractmethod
    def decode(self, payload: bytes, count: int) -> Bytes:
        """The `count` bytes that were encoded; StreamError where the payload is damaged."""

    def size(self, data: Bytes, shape: Shape) -> int | None:
        """Bytes of the payload, tables counted, to within rounding, or None; quicker where that can be."""
        payload = self.encode(data, shape)
        return None if payload is None else len(payload)


def require(sound: bool, what: str) -> None:
    """StreamError unless the stream is sound."""
    if not sound:
        raise StreamError(f"coded weights are damaged: {what}")
