"""Streams of coded weights, mutated: the decoders in C and in Python are to say the same of each."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.weights.codec import StreamError
from secateur.codegen.weights.native import decode_stream
from secateur.codegen.weights.network import network_table
from secateur.codegen.weights.registry import CODECS
from secateur.codegen.weights.streams import decode, encode

from .checks import Defect
from .family import Family
from .mutate import mutate_bytes

_DTYPES = ("int8", "int16", "float32")
_TYPE = 1  # bytes in front of a stream: the element's type, then its extents
_EXTENTS = 4


class StreamFamily(Family):
    """Any codec's stream of a small array, as it is or damaged, before it what its reader knows.

    That is the element's type, the extents, and behind its length what streams have in common.
    """

    name = "streams"
    suffix = ".stream"

    def make(self, seed: int) -> bytes:
        random = Random(seed)
        shape = tuple(random.randint(1, 9) for _ in range(_EXTENTS))
        number = random.randrange(len(_DTYPES))
        array, codec = _array(random, shape, _DTYPES[number]), random.choice(tuple(CODECS))
        table = network_table([(array, codec)])
        stream = encode(array, codec, table)
        if random.random() < 0.9:
            stream = mutate_bytes(random, stream)
        if table and random.random() < 0.3:
            table = mutate_bytes(random, table)[:255]
        return bytes([number, *shape, len(table)]) + table + stream

    def check(self, data: bytes, _seed: int, _folder: Path, _say: Any) -> str:
        dtype, shape = np.dtype(_DTYPES[data[0]]), tuple(data[_TYPE : _TYPE + _EXTENTS])
        begin = _TYPE + _EXTENTS + 1
        end = begin + data[begin - 1]
        table, stream = data[begin:end], data[end:]
        found = decode_stream(stream, int(np.prod(shape)) * dtype.itemsize, table)
        try:
            expected = decode(stream, dtype, shape, table)
        except StreamError:
            if found is not None:
                raise Defect("C decodes what Python refuses") from None
            return "refused"
        if found is None or found.tobytes() != expected.tobytes():
            raise Defect("C refuses what Python decodes, or decodes it otherwise")
        return "decoded"


def _array(random: Random, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Values of a bell curve, few or many, a share of them zero; seen as another type, arbitrary bits."""
    rng = np.random.default_rng(random.getrandbits(32))
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    drawn = np.clip(np.round(rng.standard_normal(count) * random.choice((1, 4, 40))), -128, 127)
    drawn[rng.random(count) < random.choice((0, 0.5, 0.9))] = 0
    return drawn.astype(np.int8).view(dtype).reshape(shape)
