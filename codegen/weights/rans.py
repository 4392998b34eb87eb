"""Asymmetric numeral systems with one table for the tensor: what the entropy of its bytes is, and fast."""

from __future__ import annotations

import numpy as np

from .codec import Bytes, Codec, Shape, require
from .lanes import MOST_LANES, Reader, Tables, encode, lanes_for, padded
from .tables import TOTAL, best_table, read_table


class Rans(Codec):
    """Payload: the power of two that lanes are, the table, the lanes' states and words."""

    def encode(self, data: Bytes, shape: Shape) -> bytes | None:
        if not len(data):
            return None
        table, lanes = best_table(np.bincount(data, minlength=256)), lanes_for(len(data))
        counts = padded(table.counts[data], lanes, TOTAL)
        starts = padded(table.starts[data], lanes, 0)
        return bytes([lanes.bit_length() - 1]) + table.written + encode(counts, starts)

    def decode(self, payload: bytes, count: int) -> Bytes:
        require(len(payload) > 1 and 1 << payload[0] <= MOST_LANES, "its head is wrong")
        counts, end = read_table(payload[1:])
        reader = Reader(payload[1 + end :], 1 << payload[0])
        result = reader.row(Tables(counts[None]), np.zeros(count, np.int64))
        reader.finish()
        return result

    def size(self, data: Bytes, shape: Shape) -> int | None:
        if not len(data):
            return None
        seen = np.bincount(data, minlength=256)
        table = best_table(seen)
        return 1 + len(table.written) + 3 * lanes_for(len(data)) + int(table.bits(seen) / 8)
