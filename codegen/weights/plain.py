"""Codecs without a model of the bytes: as they are, few distinct ones, and mostly zeros."""

from __future__ import annotations

import numpy as np

from .bits import as_bytes, pack_fixed, unpack_fixed
from .codec import Bytes, Codec, Shape, require


class Raw(Codec):
    """The bytes as they are."""

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        return data.tobytes()

    def decode(self, payload: bytes, count: int) -> Bytes:
        require(len(payload) == count, "its length is wrong")
        return as_bytes(payload)

    def size(self, data: Bytes, shape: Shape) -> int | None:
        return len(data)


class Dictionary(Codec):
    """Few distinct bytes, and for each byte the number of its own, all of one width.

    Payload: how many less one, the distinct bytes in order, numbers of so many bits that the last one fits.
    """

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        values, numbers = np.unique(data, return_inverse=True)
        if not 1 <= len(values) <= 128:
            return None
        return bytes([len(values) - 1]) + values.tobytes() + pack_fixed(numbers, _width(len(values)))

    def decode(self, payload: bytes, count: int) -> Bytes:
        require(len(payload) >= 2 and len(payload) > payload[0] + 1, "its dictionary is cut short")
        entries, width = payload[0] + 1, _width(payload[0] + 1)
        numbers = unpack_fixed(payload[1 + entries :], count, width)
        require(len(payload) == 1 + entries + -(-count * width // 8), "its length is wrong")
        require(not count or int(numbers.max()) < entries, "a number is past its dictionary")
        return as_bytes(payload)[1 : 1 + entries][numbers]


def _width(entries: int) -> int:
    return (entries - 1).bit_length()


class Bitmap(Codec):
    """A bit for each byte that tells whether it is zero, then those that are not."""

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        there = data != 0
        bits: bytes = np.packbits(there, bitorder="little").tobytes()
        kept: Bytes = data[there]
        return bits + kept.tobytes()

    def decode(self, payload: bytes, count: int) -> Bytes:
        bits = -(-count // 8)
        require(len(payload) >= bits, "its bitmap is cut short")
        there = np.unpackbits(as_bytes(payload[:bits]), count=count, bitorder="little").astype(bool)
        require(len(payload) == bits + int(there.sum()), "its length is wrong")
        result = np.zeros(count, np.uint8)
        result[there] = as_bytes(payload[bits:])
        return result

    def size(self, data: Bytes, shape: Shape) -> int | None:
        return -(-len(data) // 8) + int(np.count_nonzero(data))
