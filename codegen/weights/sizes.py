"""What arrays take coded, about, for those who weigh many ways to store them.

`streams.size` asks every codec about every byte. Here a long plane of bytes is judged by a part of it, noise
by how often its bytes occur, and nothing twice: what is known is known to all that ask in this process.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np

from .codec import Bytes, Shape
from .registry import CODECS, named
from .streams import Array

PART = 1 << 15
"""Bytes of a plane, about, that stand for a longer one."""
_FORETOLD = ("raw", "bitmap", "huffman", "zero-run", "rans")
"""Codecs that look at how often bytes occur, and no further: quick to ask."""
_NOISE_BITS = 7.9
"""Of a byte's entropy: from here on contexts save no more than one in a hundred."""
_REPEATED = 0.98
"""Of some noise is what `deflate` leaves, where blocks of it occur again."""
_MOST_KNOWN = 1 << 18

_known: dict[tuple[bytes, Shape, str], int] = {}


def estimate(array: Array, codec: str, quick: bool = False) -> int:
    """Bytes of `encode`'s stream, within a few in a hundred.

    `quick` asks only codecs that look at single bytes, of those that a name stands for: enough for what has
    no neighbours that are alike. KeyError for a name of no codec.
    """
    names = named(codec)
    if names == ("raw",):
        return 1 + array.nbytes
    taken = [min(own.values()) for own in estimates(array, names, quick)]
    return sum(taken) + (2 if len(taken) > 1 else 0)


def estimates(array: Array, names: Sequence[str], quick: bool = False) -> list[dict[str, int]]:
    """For each byte of the elements: what all of them take by `raw` and by each codec, with what tells it."""
    if quick and len(names) > 1:
        names = tuple(name for name in names if name in _FORETOLD) or names
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    width = array.itemsize if len(data) else 1
    told = 1 if width == 1 else 5
    planes = (np.ascontiguousarray(data[at::width]) for at in range(width))
    return [{n: told + s for n, s in _plane(plane, array.shape, names).items()} for plane in planes]


def _plane(data: Bytes, shape: Shape, names: Sequence[str]) -> dict[str, int]:
    if unforetold(data):
        names = [name for name in names if name in ("huffman", "rans")]
    some, shape = part_of(data, shape)
    share = len(data) / max(len(some), 1)
    return {name: round(share * _asked(some, shape, name)) for name in names} | {"raw": len(data)}


def _asked(data: Bytes, shape: Shape, name: str) -> int:
    """What a codec takes for bytes, which are stored as they are where it cannot hold them."""
    key = (hashlib.sha256(data.data).digest(), shape, name)
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = CODECS[name].codec.size(data, shape)
        _known[key] = len(data) if found is None else min(found, len(data))
    return _known[key]


def unforetold(data: Bytes) -> bool:
    """Whether nothing foretells bytes: all occur about as often, and no blocks of them again."""
    seen = np.bincount(data, minlength=256)
    shares = seen[seen > 0] / max(len(data), 1)
    if -float((shares * np.log2(shares)).sum()) < _NOISE_BITS:
        return False
    some = data[: 2 * PART].tobytes()
    return len(zlib.compress(some, 1)) > _REPEATED * len(some)


def part_of(data: Bytes, shape: Shape) -> tuple[Bytes, Shape]:
    """Of a plane longer than `PART`, bytes from its middle, and their shape: short along its longest axis."""
    while len(data) > PART and max(shape) > 1:
        axis = int(np.argmax(shape))
        kept = max(shape[axis] * PART // len(data), 1)
        begin = (shape[axis] - kept) // 2
        data = np.take(data.reshape(shape), range(begin, begin + kept), axis).reshape(-1)
        shape = (*shape[:axis], kept, *shape[axis + 1 :])
    return data, shape
