"""Arrays as streams of bytes, by a codec or by the best of several.

A stream is a byte that tells its codec (`registry`), then the codec's payload. Elements of more than one byte
are taken apart, unless they stay as they are: the first byte of all elements, then the second, and so on,
each coded for itself. Such a stream is SPLIT, the bytes of an element, and for each of them the length of
its stream (4 bytes) and the stream. Bytes that do not get fewer are stored as they are. `table` is what the
streams of a network have in common (`network`), where they do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .codec import Bytes, Shape, require
from .registry import BY_NUMBER, CODECS, named

SPLIT = 255
Array = NDArray[Any]
Codecs = str | tuple[str, ...]
"""The name of a codec, or of several; or one for each byte of an element."""


def encode(array: Array, codec: Codecs = "best", table: bytes = b"") -> bytes:
    """The stream of an array by the codec of that name, or by the best of those that it stands for.

    KeyError for a name of none, ValueError for more or fewer names than an element has bytes. At most a byte
    longer than the array where elements have one byte, else 2 and 5 for each byte of an element longer.
    """
    width, planes = array.itemsize, planes_of(array)
    given = (codec,) * width if isinstance(codec, str) else codec
    names = [named(own) for _, own in zip(range(width), given, strict=True)]
    if len(planes) == 1 or set(names) == {("raw",)}:
        return _encode(_bytes(array), array.shape, names[0], table)
    parts = [_encode(plane, array.shape, own, table) for plane, own in zip(planes, names, strict=True)]
    return bytes([SPLIT, width]) + b"".join(len(p).to_bytes(4, "little") + p for p in parts)


def _bytes(array: Array) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def planes_of(array: Array) -> list[Bytes]:
    """The first byte of all elements, the second, and so on; of no elements one."""
    data, width = _bytes(array), array.itemsize if array.size else 1
    return [np.ascontiguousarray(data[at::width]) for at in range(width)]


def _encode(data: Bytes, shape: Shape, names: Sequence[str], table: bytes) -> bytes:
    """The stream of bytes by the codec that takes the least, or as they are."""
    for name in _by_size(data, shape, names, table):
        payload = CODECS[name].codec.given(table).encode(data, shape)
        if payload is not None and len(payload) < len(data):
            return bytes([CODECS[name].number]) + payload
    return bytes([CODECS["raw"].number]) + data.tobytes()


def _by_size(data: Bytes, shape: Shape, names: Sequence[str], table: bytes) -> list[str]:
    if len(names) == 1:
        return list(names)
    known = _sizes(data, shape, names, table)
    return sorted(known, key=lambda name: known[name])


def _sizes(data: Bytes, shape: Shape, names: Sequence[str], table: bytes = b"") -> dict[str, int]:
    """Of the payload by each codec that can hold the bytes."""
    found = ((name, CODECS[name].codec.given(table).size(data, shape)) for name in names)
    return {name: size for name, size in found if size is not None}


def sizes(array: Array, names: Sequence[str]) -> list[dict[str, int]]:
    """For each byte of the elements: what all of them take by `raw` and by those codecs that make it less."""
    known = [(len(plane), _sizes(plane, array.shape, names)) for plane in planes_of(array)]
    return [{n: s for n, s in own.items() if s < plain} | {"raw": plain} for plain, own in known]


def size(array: Array, codec: str, table: bytes = b"") -> int:
    """Bytes of `encode`'s stream, tables counted, to within rounding; not made where that is slow."""
    planes = planes_of(array)
    parts = [_size(plane, array.shape, named(codec), table) for plane in planes]
    if len(planes) == 1:
        return parts[0]
    return 2 + sum(4 + part for part in parts)


def _size(data: Bytes, shape: Shape, names: Sequence[str], table: bytes) -> int:
    return 1 + min([len(data), *_sizes(data, shape, names, table).values()])


def decode(stream: bytes, dtype: DTypeLike, shape: Shape, table: bytes = b"") -> Array:
    """The array of a stream; StreamError where it is damaged."""
    kind, count = np.dtype(dtype), math.prod(shape)
    require(len(stream) > 0, "a stream is empty")
    if stream[0] == SPLIT:
        data = _split(stream, kind.itemsize, count, table)
    else:
        data = _decode(stream, count * kind.itemsize, table)
    return data.view(kind).reshape(shape)


def _decode(stream: bytes, count: int, table: bytes) -> Bytes:
    require(len(stream) > 0 and stream[0] in BY_NUMBER, "a stream is of no codec")
    codec = CODECS[BY_NUMBER[stream[0]]].codec.given(table)
    return np.array(codec.decode(stream[1:], count), np.uint8)


def _split(stream: bytes, width: int, count: int, table: bytes) -> Bytes:
    require(len(stream) > 2 and stream[1] == width, "its elements have another width")
    parts, at = np.empty((count, width), np.uint8), 2
    for place in range(width):
        end = at + 4 + int.from_bytes(stream[at : at + 4], "little")
        require(end <= len(stream), "a part is cut short")
        parts[:, place] = _decode(stream[at + 4 : end], count, table)
        at = end
    require(at == len(stream), "bytes are left over")
    return parts.reshape(-1)
