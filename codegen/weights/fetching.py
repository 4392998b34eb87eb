"""Constants that are decoded into the arena right before the call that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..alignment import aligned
from ..targets.target import Target
from .known import stream_of
from .pacing import paced
from .storing import PLAIN, Entry, check_codec, entries
from .streams import Array


@dataclass(frozen=True, eq=False)
class Fetch:
    """Arrays that are decoded to `offsets` of the arena before each run of a call.

    The decoder works in `room` bytes at `work`, behind the arrays.
    """

    arrays: tuple[Array, ...]
    offsets: tuple[int, ...]
    streams: tuple[bytes, ...]
    work: int
    room: int


@dataclass
class Region:
    """`size` bytes of the arena at `begin`, being filled with one operator's constants, stored by `codec`."""

    begin: int
    size: int
    codec: str
    arrays: list[Array] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    end: int = 0

    def place(self, array: Array) -> int:
        """Where the array will lie in the arena."""
        self.arrays.append(array)
        self.offsets.append(self.begin + self.end)
        self.end += aligned(max(array.nbytes, 1))
        return self.offsets[-1]


def fetch(region: Region, target: Target, table: bytes = b"") -> Fetch:
    """What fills a region on a target; SecateurError for a codec of no name."""
    codec, room = region.codec or PLAIN, region.size - region.end
    check_codec(codec)
    codecs = paced(region.arrays, [codec] * len(region.arrays), target, room)
    streams = tuple(stream_of(array, own, table) for array, own in zip(region.arrays, codecs, strict=True))
    return Fetch(tuple(region.arrays), tuple(region.offsets), streams, region.begin + region.end, room)


def distinct(fetches: Iterable[Fetch]) -> tuple[bytes, ...]:
    """The streams that the artifact holds, each once."""
    return tuple(dict.fromkeys(stream for fetch in fetches for stream in fetch.streams))


def fetch_entries(fetches: Sequence[Fetch], begin: int) -> list[list[Entry]]:
    """The rows of each fetch's streams, which lie one behind the other from `begin` on."""
    places, at = {}, begin
    for stream in distinct(fetches):
        places[stream] = at
        at += len(stream)
    return [
        [
            entries([stream], [array], [offset], places[stream])[0]
            for stream, array, offset in zip(fetch.streams, fetch.arrays, fetch.offsets, strict=True)
        ]
        for fetch in fetches
    ]


def fetched_summary(fetches: Sequence[Fetch]) -> dict[str, int]:
    """How many arrays are decoded before their layer, their bytes, what they take coded, and the largest
    number of bytes of the arena that one layer's take, its decoder included."""
    return {
        "layers": len(fetches),
        "bytes": sum(array.nbytes for fetch in fetches for array in fetch.arrays),
        "coded_bytes": sum(map(len, distinct(fetches))),
        "region_bytes": max(fetch.work + fetch.room - fetch.offsets[0] for fetch in fetches),
    }
