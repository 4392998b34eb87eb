"""What decoding a stream takes on the machine that loads it: memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..runtime_files import header_constant
from .registry import CODECS, named
from .streams import SPLIT


def codec_numbered(number: int) -> str:
    """The name of the codec with that number in streams."""
    return next(name for name, row in CODECS.items() if row.number == number)


def parts(stream: bytes, bytes: int) -> Iterator[tuple[str, int]]:
    """The codecs of a sound stream of an array of so many bytes, with the bytes that each gives."""
    if stream[0] != SPLIT:
        yield codec_numbered(stream[0]), bytes
        return
    width, at = stream[1], 2
    for _ in range(width):
        yield codec_numbered(stream[at + 4]), bytes // width
        at += 4 + int.from_bytes(stream[at : at + 4], "little")


def room_of(codecs: Iterable[str]) -> int:
    """Bytes in which the decoders of these codecs work, one after the other."""
    return max((header_constant("decode.h", f"RT_ROOM_{CODECS[name].room}") for name in codecs), default=0)


def room_of_streams(streams: Sequence[bytes]) -> int:
    """Bytes in which the streams can be decoded, one after the other; empty ones need none."""
    return room_of({name for stream in streams if stream for name, _ in parts(stream, 0)})


def most_room(codec: str) -> int:
    """Bytes in which anything can be decoded that the codec, or those that a name stands for, may write."""
    return room_of((*named(codec), "raw"))
